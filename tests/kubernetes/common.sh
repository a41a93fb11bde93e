# Sourced by cluster and tutorial: a temporary folder, and servers that end with the script.
# Expects: set -euo pipefail, $me, $start_seconds. Gives: $dir, serve, until_true, free_port, fail.
umask 077

fail() {
	echo "$me: $*" >&2
	log_lines=20
	exit 70
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/postern-$(basename "$me").XXXXXX")
declare -A server_pid=()
log_lines=20

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# serve NAME COMMAND...: in $dir, with a log there. The kernel ends it with this script, should that be killed outright.
serve() {
	local name=$1
	shift
	(cd "$dir" && exec setpriv --pdeathsig KILL "$@") >"$dir/$name.log" 2>&1 </dev/null &
	server_pid[$name]=$!
}

check_servers() {
	local name
	for name in "${!server_pid[@]}"; do
		alive "${server_pid[$name]}" || fail "$name ended"
	done
}

# until_true WHAT COMMAND...
until_true() {
	local what=$1 deadline=$((SECONDS + start_seconds))
	shift
	until "$@" >"$dir/last-try" 2>&1; do
		check_servers
		[ "$SECONDS" -lt "$deadline" ] || fail "no $what within $start_seconds seconds: $(tail -n 1 "$dir/last-try")"
		sleep 0.1
	done
}

listening() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range of ephemeral ports, so that nobody's outgoing connection takes it in the meantime.
free_port() {
	local port
	for _ in {1..100}; do
		port=$((RANDOM % 20000 + 11000))
		if ! listening "$port"; then
			echo "$port"
			return
		fi
	done
	fail "no free port"
}

show_logs() {
	local log
	for log in "$dir"/*.log; do
		[ -s "$log" ] || continue
		echo "--- the end of $(basename "$log")" >&2
		tail -n "$log_lines" "$log" | cut -c1-400 >&2
	done
}

stop() {
	local status=$? pid
	trap - EXIT
	trap '' HUP INT TERM
	before_stop
	# Nothing of theirs is kept, so there is nothing to close properly.
	for pid in "${server_pid[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	[ "$status" -eq 0 ] || show_logs
	rm -rf "$dir"
	exit "$status"
}
before_stop() { :; }
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
