"""One agent's session with cq's own client, as its users run it: reads, proposes, confirms, flags.

Prints one JSON object: what each call came to. CQ_ADDR and CQ_API_KEY say where and as whom.
"""
import json

from cq import Client, FallbackError, FlagReason, RemoteError, Tier


def outcome(call) -> dict:
    try:
        return {"ok": call()}
    except FallbackError as error:
        cause = error.__cause__
        return {"status": getattr(cause, "status_code", 0), "detail": getattr(cause, "detail", repr(cause))}
    except RemoteError as error:
        return {"status": error.status_code, "detail": error.detail}


def main() -> None:
    done = {}
    with Client() as client:
        def propose() -> str:
            unit = client.propose("s", "d", "a", domains=["gateways"], created_by="mallory")
            done["author"], done["tier"] = unit.created_by, unit.tier.value
            return unit.id

        done["propose"] = outcome(propose)
        unit = done["propose"].get("ok", "ku_" + "0" * 32)
        done["confirm"] = outcome(lambda: client.confirm(unit, tier=Tier.PRIVATE).evidence.confirmations)
        done["flag"] = outcome(lambda: len(client.flag(unit, FlagReason.STALE, tier=Tier.PRIVATE).flags))
        read = client.query(["gateways"])
        done["query"] = {"source": read.source, "warnings": read.warnings, "units": [one.id for one in read.units]}
        done["stats"] = sorted(client.status().tier_counts)
    print(json.dumps(done))


main()
