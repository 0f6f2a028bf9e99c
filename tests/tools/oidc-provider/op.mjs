// A real OpenID provider for the wire tests: npm oidc-provider with one machine client.
// Owns: the issuer's configuration. Never: anything that outlives the process.
//
// usage: node op.mjs        prints one line of JSON when it listens: {"issuer":"http://127.0.0.1:PORT","privateKey":"PEM"}
// Clients that introspect (RFC 7662): "basic" and "post" with the secret "gateway's secret: 100%", "key" with privateKey.
// A resource whose URL holds "opaque" has opaque access tokens.
// POST /sign-in             an access token of alice with the scopes openid, profile and email, as a sign-in would give her
// POST /rotate              puts a new RS256 signing key before the old ones, which stay published
// It ends when its standard input does, so that it never outlives the test that started it.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const keys = [];
const assertion = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const introspecting = (id, method, more) => ({
  client_id: id, token_endpoint_auth_method: method, grant_types: [], response_types: [], redirect_uris: [], ...more,
});

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
    },
    { client_id: 'web', client_secret: 'web-secret', redirect_uris: ['https://app.example.com/callback'] },
    introspecting('basic', 'client_secret_basic', { client_secret: "gateway's secret: 100%" }),
    introspecting('post', 'client_secret_post', { client_secret: "gateway's secret: 100%" }),
    introspecting('key', 'private_key_jwt', {
      jwks: { keys: [{ ...assertion.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'one' }] },
      token_endpoint_auth_signing_alg: 'ES256',
    })],
    scopes: ['tools:call', 'openid', 'profile', 'email'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
    findAccount: (context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: 'Alice', email: 'alice@example.com', email_verified: true }),
    }),
    cookies: { keys: [randomUUID()] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      revocation: { enabled: true },
      // RFC 8707: the audience is what the client asks for, and the token a JWT of RFC 9068.
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (context, resource) => ({
          scope: 'tools:call', audience: resource, accessTokenFormat: resource.includes('opaque') ? 'opaque' : 'jwt', accessTokenTTL: 120,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  return { provider, callback: provider.callback() };
}

// What the library does at the end of a sign-in, without the pages before it.
async function signIn(provider) {
  const scope = 'openid profile email';
  const grant = new provider.Grant({ accountId: 'alice', clientId: 'web' });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const client = await provider.Client.find('web');
  const token = new provider.AccessToken({ accountId: 'alice', client, grantId, scope, gty: 'authorization_code' });
  return token.save();
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
  if (request.method === 'POST' && request.url === '/sign-in') {
    signIn(handler.provider).then((token) => response.end(JSON.stringify({ access_token: token })));
    return;
  }
  handler.callback(request, response);
});
let issuer;
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  handler = makeHandler(issuer);
  const privateKey = assertion.privateKey.export({ format: 'pem', type: 'pkcs8' });
  console.log(JSON.stringify({ issuer, privateKey }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
