{{/* The chart's name, or what replaces it. */}}
{{- define "gatewright.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The first part of every name. Cut so that the longest suffix (-operator-policies) fits a DNS label. */}}
{{- define "gatewright.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains (include "gatewright.name" .) .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "gatewright.name" .) | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gatewright.operator.name" -}}{{ include "gatewright.fullname" . }}-operator{{- end }}
{{- define "gatewright.authz.name" -}}{{ include "gatewright.fullname" . }}-authz{{- end }}

{{/* Selectors. Never with the chart's version: selectors cannot change. Call with (dict "root" $ "component" "authz"). */}}
{{- define "gatewright.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gatewright.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of every object of a component. */}}
{{- define "gatewright.labels" -}}
{{ include "gatewright.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: gatewright
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gatewright.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* Namespaces whose Secrets the operator may read: its own, the watched, and those that were added. */}}
{{- define "gatewright.valueNamespaces" -}}
{{- concat (list .Release.Namespace) .Values.operator.watchNamespaces .Values.rbac.namespaces | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Namespaces whose policies count, where they are named; the release's own is among them. */}}
{{- define "gatewright.policyNamespaces" -}}
{{- concat (list .Release.Namespace) .Values.operator.watchNamespaces | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Security of every pod: the restricted profile. Not a value: there is no reason to weaken it. */}}
{{- define "gatewright.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gatewright.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods may run. Call with (dict "root" $ "component" "authz" "values" .Values.authz). */}}
{{- define "gatewright.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpread.enabled }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $.values.topologySpread.whenUnsatisfiable }}
  labelSelector:
    matchLabels: {{- include "gatewright.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{/* Probes on the admin listener. */}}
{{- define "gatewright.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* Egress to DNS. */}}
{{- define "gatewright.dnsEgress" -}}
- ports:
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dnsTo }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
