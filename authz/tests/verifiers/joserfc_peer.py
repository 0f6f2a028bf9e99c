"""Another verifier: joserfc on OpenSSL. The first line is the key set and the rules; each further one a token, answered in one line."""
import json
import sys
import warnings

from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry, extract_compact

# It says that the name EdDSA is on its way out, once per token.
warnings.simplefilter("ignore")

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
NAMES = {"RS": "rsa", "PS": "rsa", "ES256": "p256", "ES384": "p384", "ES512": "p521", "Ed": "ed25519"}

rules = json.loads(sys.stdin.readline())
keys = KeySet.import_key_set(rules["keys"])
# Members that nobody knows are ignored (RFC 7515 section 4); by default it refuses them.
headers = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
registry = jwt.JWTClaimsRegistry(
    now=rules["now"],
    iss={"essential": True, "value": rules["iss"]},
    aud={"essential": True, "value": rules["aud"]},
    exp={"essential": True},
)


def key(text: str):
    """The key of that name; without a name, the one that is made for the algorithm."""
    header = extract_compact(text.encode()).protected
    if "kid" in header:
        return keys.get_by_kid(header["kid"])
    algorithm = header["alg"]
    name = next(name for prefix, name in NAMES.items() if algorithm.startswith(prefix))
    return keys.get_by_kid(name)


for line in sys.stdin:
    text = json.loads(line)
    try:
        token = jwt.decode(text, key(text), registry=headers)
        registry.validate(token.claims)
        answer = "good"
    except Exception as error:  # Whatever stops it, it has not accepted the token.
        answer = f"{type(error).__name__}: {error}".replace("\n", " ")
    print(answer, flush=True)
