// A real OpenID provider for the wire tests: npm oidc-provider with one machine client.
// Owns: the issuer's configuration. Never: anything that outlives the process.
//
// usage: node op.mjs        prints one line of JSON when it listens: {"issuer":"http://127.0.0.1:PORT"}
// Environment: LISTEN (host:port, default 127.0.0.1:0) and ISSUER (default http://LISTEN) for a provider in a pod.
// POST /rotate              puts a new RS256 signing key before the old ones, which stay published
// It ends when its standard input does, so that it never outlives the test that started it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const keys = [];

function addKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys.unshift({ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' });
}

// The library reads its keys when it is made, so a rotation makes a new provider behind the same address.
function makeHandler(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [{
      client_id: 'm2m', client_secret: 'm2m-secret', grant_types: ['client_credentials'],
      response_types: [], redirect_uris: [], scope: 'tools:call',
    }],
    scopes: ['tools:call'],
    cookies: { keys: [randomUUID()] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      // RFC 8707: the audience is what the client asks for, and the token a JWT of RFC 9068.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (context, resource) => ({
          scope: 'tools:call', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 120,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  return provider.callback();
}

addKey();
let handler;
const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    addKey();
    handler = makeHandler(issuer);
    response.end();
    return;
  }
  handler(request, response);
});
let issuer;
const [host, port] = (process.env.LISTEN ?? '127.0.0.1:0').split(':');
server.listen(Number(port), host, () => {
  issuer = process.env.ISSUER ?? `http://${host}:${server.address().port}`;
  handler = makeHandler(issuer);
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
