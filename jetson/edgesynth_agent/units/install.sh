#!/bin/sh
# install.sh AGENT.pyz: install and start the agent as a service, or bring it up to date. On the board, as root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: install.sh edgesynth-agent.pyz" >&2; exit 2; }
python3 "$1" --version # nothing has been changed yet if this Python cannot run it

groupadd --system --force edgesynth
getent passwd edgesynth >/dev/null || useradd --system --gid edgesynth --home-dir /var/lib/edgesynth \
    --no-create-home --shell /usr/sbin/nologin edgesynth
# From JetPack 6 on, CUDA opens a render node too.
if getent group render >/dev/null; then usermod --append --groups render edgesynth; fi

# Under another name first: a file that runs is replaced, never written to.
install -m 755 "$1" /usr/local/bin/.edgesynth-agent.new
mv /usr/local/bin/.edgesynth-agent.new /usr/local/bin/edgesynth-agent
install -D -m 755 "$here/edgesynth-power" /usr/local/lib/edgesynth/edgesynth-power
install -m 644 "$here/edgesynth-agent.service" "$here/edgesynth-power@.service" /etc/systemd/system/

# The additions that this systemd knows.
rm -f /etc/systemd/system/edgesynth-agent.service.d/[0-9][0-9][0-9].conf
version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
for addition in "$here"/edgesynth-agent.service.d/*.conf; do
    if [ "$(basename "$addition" .conf)" -le "$version" ]; then
        install -D -m 644 -t /etc/systemd/system/edgesynth-agent.service.d "$addition"
    fi
done

systemctl daemon-reload
systemctl enable edgesynth-agent.service
systemctl restart edgesynth-agent.service
systemctl --no-pager --lines=0 status edgesynth-agent.service
