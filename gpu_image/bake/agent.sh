#!/usr/bin/env bash
# CloudWatch's agent, which sends the GPU's metrics: the package that AWS signed, and its configuration.
set -euo pipefail
readonly FINGERPRINT=937616F3450B7D806CBD9725D58167303B789C72
readonly ORIGIN=https://amazoncloudwatch-agent.s3.amazonaws.com
readonly PACKAGE=ubuntu/amd64/latest/amazon-cloudwatch-agent.deb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GNUPGHOME=$work

fetch() { curl --fail --silent --show-error --location --retry 3 --output "$work/$2" "$ORIGIN/$1"; }
fetch assets/amazon-cloudwatch-agent.gpg key
fetch "$PACKAGE" agent.deb
fetch "$PACKAGE.sig" agent.sig

gpg --quiet --batch --import "$work/key"
# The key that signed must be the one whose fingerprint AWS publishes, not just any that came along.
gpg --quiet --batch --status-fd 1 --verify "$work/agent.sig" "$work/agent.deb" \
  | grep "^\[GNUPG:\] VALIDSIG $FINGERPRINT " >/dev/null \
  || { echo "amazon-cloudwatch-agent.deb: not signed by $FINGERPRINT" >&2; exit 1; }

DEBIAN_FRONTEND=noninteractive dpkg --install "$work/agent.deb" >/dev/null
# Reads, checks and keeps the configuration; it starts with the node, not now.
/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 \
  -c file:/srv/tl-fif/gpu_image/cloudwatch-agent.json
systemctl enable amazon-cloudwatch-agent
