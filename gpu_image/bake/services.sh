#!/usr/bin/env bash
# What starts with the node, and what does not: nothing that changes it unattended, and as little as
# possible that takes time or the network before the engine.
set -euo pipefail
readonly IMAGE=/srv/tl-fif/gpu_image

install -m 0644 "$IMAGE"/*.service /etc/systemd/system/
for unit in "$IMAGE"/*.service; do
  systemctl enable "$(basename "$unit")"
done
# supervisord starts nginx, with our configuration (supervisord.conf).
systemctl disable nginx

# Updates come with the next image. What runs by itself otherwise: packages, firmware, news, reports.
systemctl mask apt-daily.service apt-daily.timer apt-daily-upgrade.service apt-daily-upgrade.timer \
  unattended-upgrades.service update-notifier-download.timer update-notifier-motd.timer \
  motd-news.timer fwupd-refresh.timer man-db.timer ua-timer.timer apport.service
# Session Manager is the only way in (EC2-005).
systemctl mask ssh.service ssh.socket
# Machines of EC2 have no RAID, multipath or LXD of their own.
systemctl mask multipathd.service multipathd.socket mdmonitor.service lxd-agent.service

# Session Manager's agent is a snap in Ubuntu's image and the only way in: snapd stays, but never refreshes.
if command -v snap >/dev/null; then
  snap set system refresh.hold=forever
fi

# cloud-init looks for EC2 alone, and neither upgrades nor rewrites apt's sources.
install -d /etc/cloud/cloud.cfg.d
cat >/etc/cloud/cloud.cfg.d/90_tl-fif.cfg <<'CFG'
datasource_list: [Ec2, None]
package_update: false
package_upgrade: false
apt_preserve_sources_list: true
ssh_genkeytypes: [ed25519]
CFG
