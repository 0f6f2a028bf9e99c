#!/usr/bin/env bash
# up.sh [RING]: a real Kubernetes on this machine, 3 to 5 seconds. Needs root. down.sh ends it.
#   1: etcd, kube-apiserver     2: and controller-manager, scheduler     3: and containerd, kubelet, kube-proxy, CoreDNS
# Everything runs inside one network, mount and pid namespace, made by a single `unshare`; killing that one process ends
# all of it. On the host's side is one veth pair and routes to pods and Services, so tests on the host reach the API server,
# pod addresses and cluster addresses directly. Inside there is no way out to the internet.
# Env: BIN   what build.sh made [the folder of `tests/tools/install node`]
#      RUN   state of the cluster [tests/node/run]
#      IMAGES  more archives to import, separated by blanks
#      PROXY_MODE  nftables (default) or iptables
set -euo pipefail
export RING=${1:-3}
here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:-$(dirname "$("$here/../tools/install" node)")}
RUN=${RUN:-$here/run}
export BIN RUN PROXY_MODE=${PROXY_MODE:-nftables}
images="$BIN/images/pause.tar ${IMAGES:-}"
export HOSTIP=10.200.0.1 NODEIP=10.200.0.2 PODCIDR=10.244.0.0/24 SVCCIDR=10.96.0.0/16 DNSIP=10.96.0.10 APIPORT=6443 NODE=node1

[[ $EUID == 0 ]] || { echo "up.sh: it makes namespaces and routes; run it as root" >&2; exit 1; }
[[ ! -e $RUN/ns.pid ]] || { echo "up.sh: $RUN is up already; run: RUN=$RUN $here/down.sh" >&2; exit 1; }
if ip link show kubeh >/dev/null 2>&1; then
  echo "up.sh: another cluster is up on this machine, and its addresses are fixed; end it with its down.sh" >&2
  exit 1
fi
mkdir -p "$RUN"/{pki,log,etcd,kubelet,podlogs,containerd,state,cni}
cd "$RUN"

now() { date +%s.%N; }
start=$(now)
last=$start
lap() {
  local at
  at=$(now)
  awk -v what="$1" -v from="$last" -v start="$start" -v at="$at" 'BEGIN { printf "%-42s %6.2fs (total %6.2fs)\n", what, at - from, at - start }'
  last=$at
}

fail() {
  echo "up.sh: FAILED waiting for $1; the ends of the logs in $RUN/log:" >&2
  tail -n 5 "$RUN"/log/*.log 2>/dev/null | cut -c1-300 >&2
  exit 1
}

# wait_for WHAT SECONDS COMMAND…: until the command succeeds; at once if the namespace has ended.
wait_for() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $end ]] && kill -0 "$(cat "$RUN/ns.pid")" 2>/dev/null || fail "$what"
    sleep 0.1
  done
}

"$here/pki.sh"
lap "certificates and kubeconfigs"

unshare --net --mount --pid --fork --kill-child=KILL --propagation private bash "$here/node.sh" > log/node.log 2>&1 &
echo $! > ns.pid
wait_for "the namespace" 5 test -e ns.ready
init=$(ps -o pid= --ppid "$(cat ns.pid)" | head -1 | tr -d ' ')
echo "$init" > init.pid
ip link add kubeh type veth peer name kubec netns "$init"
ip addr add "$HOSTIP/30" dev kubeh
ip link set kubeh up
nsenter -t "$init" -n ip addr add "$NODEIP/30" dev kubec
nsenter -t "$init" -n ip link set kubec up
ip route add "$PODCIDR" via "$NODEIP"
ip route add "$SVCCIDR" via "$NODEIP"
touch net.ready
lap "namespace and network"

kubectl() { "$BIN/kubectl" --kubeconfig "$RUN/pki/admin.kubeconfig" "$@"; }
ready() { [[ $(curl -s -m2 --cacert pki/ca.crt --cert pki/admin.crt --key pki/admin.key "https://$NODEIP:$APIPORT/readyz") == ok ]]; }
wait_for "the API server" 60 ready
lap "API server ready"
if [[ $RING -ge 2 ]]; then
  wait_for "the default service account" 60 kubectl get serviceaccount default -n default
  lap "controller-manager at work"
fi
if [[ $RING -ge 3 ]]; then
  wait_for "containerd" 30 ctr -a "$RUN/state/containerd.sock" version
  for image in $images; do
    ctr -a "$RUN/state/containerd.sock" -n k8s.io images import "$image" >> log/import.log 2>&1 || fail "the import of $image"
  done
  lap "containerd up, images imported"
  wait_for "the node's registration" 60 kubectl get node "$NODE"
  kubectl wait --for=condition=Ready "node/$NODE" --timeout=60s >/dev/null || fail "the node to be Ready"
  lap "node Ready"
  kubectl apply -f - >/dev/null <<X
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: $DNSIP, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-test, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [$NODEIP]}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
X
  lap "cluster DNS"
fi
echo "KUBECONFIG=$RUN/pki/admin.kubeconfig"
