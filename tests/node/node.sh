#!/usr/bin/env bash
# node.sh: the first process of the cluster's pid namespace, started by up.sh through `unshare`, whose variables it uses.
# Starts the daemons, reaps children, and stays: when it is killed, everything here ends.
set -u
mount --make-rprivate /
mount -t proc proc /proc
# Private copies of the paths that Kubernetes hard-codes.
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock
for pair in /var/lib/kubelet:kubelet /var/log/pods:podlogs /var/log/containers:podlogs /var/lib/cni:cni; do
  mkdir -p "${pair%%:*}" "$RUN/${pair##*:}"
  mount --bind "$RUN/${pair##*:}" "${pair%%:*}"
done
# kubelet insists on three settings and would change them for the whole machine: it is shown files that hold its values.
for pair in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=/run/sysctl-$(basename "${pair%=*}")
  echo "${pair#*=}" > "$file"
  mount --bind "$file" "/proc/sys/${pair%=*}"
done
# kubelet wants shared propagation.
mount --make-rshared /
ip link set lo up
# A default route into nowhere: packets to cluster addresses made here need a route to reach the NAT hook. Nothing leaks out.
ip link add blackhole0 type bridge
ip link set blackhole0 up
ip addr add 10.201.0.1/32 dev blackhole0
ip route add default dev blackhole0
echo 1 > /proc/sys/net/ipv4/ip_forward
touch "$RUN/ns.ready"
while [[ ! -e $RUN/net.ready ]]; do sleep 0.05; done
P=$RUN/pki
L=$RUN/log
cd "$RUN" || exit 1

"$BIN/etcd" --name test --data-dir $RUN/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster test=http://127.0.0.1:2380 \
  --unsafe-no-fsync --log-level warn > $L/etcd.log 2>&1 &
"$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=$APIPORT --bind-address=0.0.0.0 --advertise-address=$NODEIP \
  --service-cluster-ip-range=$SVCCIDR --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --client-ca-file=$P/ca.crt --tls-cert-file=$P/apiserver.crt --tls-private-key-file=$P/apiserver.key \
  --kubelet-client-certificate=$P/api-kubelet.crt --kubelet-client-key=$P/api-kubelet.key --kubelet-certificate-authority=$P/ca.crt \
  --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file=$P/ca.crt --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \
  --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file=$P/front-proxy.crt --proxy-client-key-file=$P/front-proxy.key \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$P/sa.pub --service-account-signing-key-file=$P/sa.key \
  --v=1 > $L/apiserver.log 2>&1 &
if [[ $RING -ge 3 ]]; then
cat > containerd.toml <<X
version = 2
root = "$RUN/containerd"
state = "$RUN/state/c"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs","io.containerd.snapshotter.v1.zfs","io.containerd.snapshotter.v1.devmapper","io.containerd.snapshotter.v1.aufs","io.containerd.internal.v1.opt"]
[grpc]
  address = "$RUN/state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  enable_selinux = false
  disable_tcp_service = true
  disable_apparmor = true
  # Where CAP_SYS_RESOURCE is missing, oom_score_adj cannot be lowered.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "/usr/sbin/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni/net.d"
X
mkdir -p cni/net.d
cat > cni/net.d/10-test.conflist <<X
{"cniVersion":"1.0.0","name":"test","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"/run/cni-ipam","ranges":[[{"subnet":"$PODCIDR"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
X
echo "nameserver $DNSIP" > resolv.conf
cat > kubelet.yaml <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $P/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $P/kubelet-server.crt
tlsPrivateKeyFile: $P/kubelet-server.key
containerRuntimeEndpoint: unix://$RUN/state/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [$DNSIP]
clusterDomain: cluster.local
resolvConf: $RUN/resolv.conf
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
nodeStatusUpdateFrequency: 5s
X
containerd -c containerd.toml --log-level info > $L/containerd.log 2>&1 &
fi
until [[ "$(curl -sk https://127.0.0.1:$APIPORT/readyz --cert $P/admin.crt --key $P/admin.key 2>/dev/null)" == ok ]]; do sleep 0.1; done
if [[ $RING -ge 2 ]]; then
"$BIN/kube-controller-manager" --kubeconfig=$P/kcm.kubeconfig --leader-elect=false --kube-api-qps=300 --kube-api-burst=600 \
  --service-account-private-key-file=$P/sa.key --root-ca-file=$P/ca.crt --cluster-signing-cert-file=$P/ca.crt --cluster-signing-key-file=$P/ca.key \
  --bind-address=127.0.0.1 --authentication-kubeconfig=$P/kcm.kubeconfig --authorization-kubeconfig=$P/kcm.kubeconfig > $L/kcm.log 2>&1 &
"$BIN/kube-scheduler" --kubeconfig=$P/sched.kubeconfig --leader-elect=false --kube-api-qps=300 --kube-api-burst=600 --bind-address=127.0.0.1 \
  --authentication-kubeconfig=$P/sched.kubeconfig --authorization-kubeconfig=$P/sched.kubeconfig > $L/sched.log 2>&1 &
fi
if [[ $RING -ge 3 ]]; then
"$BIN/kubelet" --config=$RUN/kubelet.yaml --kubeconfig=$P/kubelet.kubeconfig --hostname-override=$NODE --node-ip=$NODEIP --root-dir=/var/lib/kubelet > $L/kubelet.log 2>&1 &
cat > proxy.yaml <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $P/proxy.kubeconfig}
mode: $PROXY_MODE
nftables: {minSyncPeriod: 100ms, syncPeriod: 30s}
iptables: {minSyncPeriod: 100ms, syncPeriod: 30s}
clusterCIDR: $PODCIDR
hostnameOverride: $NODE
bindAddress: 0.0.0.0
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0}
X
"$BIN/kube-proxy" --config=$RUN/proxy.yaml > $L/proxy.log 2>&1 &
fi
if [[ $RING -ge 3 ]]; then
# Cluster DNS as a plain process behind the Service kube-dns, which up.sh makes.
cat > Corefile <<X
.:53 {
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  cache 1
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $P/admin.kubeconfig test
    pods insecure
    ttl 1
  }
}
X
"$BIN/coredns" -conf $RUN/Corefile > $L/coredns.log 2>&1 &
fi
# Reaps the children and those that it inherits.
while :; do wait -n 2>/dev/null; sleep 1; done
