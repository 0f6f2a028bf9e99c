#!/usr/bin/env bash
# pki.sh: certificates and kubeconfigs of the test cluster into $RUN/pki. Sourced by nobody, called by up.sh.
# Env: RUN, NODEIP, APIPORT, NODE.
set -euo pipefail
cd "$RUN/pki"

cat > openssl.cnf <<X
[req]
distinguished_name=dn
prompt=no
[dn]
CN=x
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier=hash
[client]
basicConstraints=critical,CA:FALSE
extendedKeyUsage=clientAuth
[server]
basicConstraints=critical,CA:FALSE
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=IP:127.0.0.1,IP:$NODEIP,IP:10.96.0.1,DNS:localhost,DNS:$NODE,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
X

key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -config openssl.cnf)

# certificate NAME EXTENSIONS SUBJECT
certificate() {
  openssl req -x509 "${key[@]}" -extensions "$2" -CA ca.crt -CAkey ca.key -subj "$3" -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

openssl req -x509 "${key[@]}" -extensions ca -subj /CN=test-ca -keyout ca.key -out ca.crt 2>/dev/null
certificate apiserver server /CN=kube-apiserver
certificate kubelet-server server "/CN=$NODE"
certificate admin client /O=system:masters/CN=admin
# As a master: that spares one token per controller, which takes two or three seconds.
certificate kcm client /O=system:masters/CN=system:kube-controller-manager
certificate front-proxy client /CN=front-proxy
certificate sched client /CN=system:kube-scheduler
certificate proxy client /CN=system:kube-proxy
certificate kubelet client "/O=system:nodes/CN=system:node:$NODE"
certificate api-kubelet client /O=system:masters/CN=kube-apiserver-kubelet-client
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key 2>/dev/null
openssl pkey -in sa.key -pubout -out sa.pub

for user in admin kcm sched proxy kubelet; do
  cat > "$user.kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$NODEIP:$APIPORT", certificate-authority: $RUN/pki/ca.crt}}]
users: [{name: $user, user: {client-certificate: $RUN/pki/$user.crt, client-key: $RUN/pki/$user.key}}]
contexts: [{name: test, context: {cluster: test, user: $user}}]
current-context: test
X
done
