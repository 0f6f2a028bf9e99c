"""Another verifier: joserfc on OpenSSL. The first line is the key set and the rules; each further one a token, answered in one line."""
import json
import sys
import warnings

from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry, extract_compact

# It says that the name EdDSA is on its way out, once per token.
warnings.simplefilter("ignore")

NAMES = {"RS": "rsa", "PS": "rsa", "ES256": "p256", "ES384": "p384", "ES512": "p521", "Ed": "ed25519",
         "HS256": "HS256", "HS384": "HS384", "HS512": "HS512"}

rules = json.loads(sys.stdin.readline())
keys = KeySet.import_key_set(rules["keys"])
# Members that nobody knows are ignored (RFC 7515 section 4); by default it refuses them.
headers = JWSRegistry(algorithms=rules["algorithms"], strict_check_header=False)
registry = jwt.JWTClaimsRegistry(
    now=rules["now"],
    iss={"essential": True, "value": rules["iss"]},
    aud={"essential": True, "value": rules["aud"]},
    exp={"essential": True},
)


def key(text: str):
    """The key that is made for the algorithm; where keys have names and the token says one, the key of that name."""
    header = extract_compact(text.encode()).protected
    if rules["named"] and "kid" in header:
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
