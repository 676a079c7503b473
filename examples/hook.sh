#!/bin/sh
# /etc/buoy/hook.sh, mode 0755, owner root: keeps this node's state, and since when and why it
# is that, in /run/buoy/state for whoever wants to read it.
#
# Called as keepalived calls its notify script: hook.sh INSTANCE <cluster> <STATE> <priority>.
set -eu

dir=${RUNTIME_DIRECTORY:-/run/buoy}
state=$3

case $state in
MASTER | BACKUP | FAULT | STOP) ;;
*)
	echo "hook.sh: what is $state?" >&2
	exit 1
	;;
esac

# A reader finds the old file or the new one, never half of one.
cat >"$dir/state.new" <<END
state=$state
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
why=$BUOY_REASON
leader=$BUOY_LEADER
END
mv "$dir/state.new" "$dir/state"
echo "$BUOY_PREVIOUS -> $state"
