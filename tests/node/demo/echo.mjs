// The application behind Envoy: answers with what reached it, as JSON. Never checks anything.
import { createServer } from 'node:http';

createServer((request, response) => {
  const headers = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    headers.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ method: request.method, path: request.url, headers }));
}).listen(8080, '0.0.0.0');
process.on('SIGTERM', () => process.exit(0));
