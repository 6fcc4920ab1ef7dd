# Builds Go programs from pinned modules, each once: to be sourced by the scripts that know which programs there are. Such
# a script sets `speaker`, the words before each message, and calls use_go, then pinned_folder, then build_pinned.
# Progress goes to standard error; what a script prints itself is for programs.
# shellcheck shell=bash

say() { echo "$speaker: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

work=

# The compiler has started others: its whole session ends.
end_work() {
  [ -n "$work" ] || return 0
  kill -TERM -- "-$work" 2>/dev/null || kill -TERM "$work" 2>/dev/null || true
}
trap end_work EXIT

# What the user has set for other Go programs must not change these. Fails where there is no Go.
use_go() {
  command -v go >/dev/null || return 1
  unset GOOS GOARCH GOEXPERIMENT
  export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS="-buildvcs=false -mod=readonly -trimpath"
}

# pinned_folder WHAT MODULE LINKER_FLAGS
#
# Prints where the programs of a module stand once they are built: another folder as soon as anything differs that they
# are made of. A module's sources stand in one folder.
pinned_folder() {
  local what=$1 module=$2 linker_flags=$3 source sources key
  sources=("$module/go.mod" "$module/go.sum")
  while IFS= read -r source; do sources+=("$source"); done < <(find "$module" -maxdepth 1 -name '*.go' | LC_ALL=C sort)
  key=$( (cat "${sources[@]}"; echo "$CGO_ENABLED $GOFLAGS $linker_flags"; go version; uname -m) | sha256sum | cut -c1-16)
  echo "${XDG_CACHE_HOME:-$HOME/.cache}/process-template-operator/$what/$key"
}

# with_heartbeat FOLDER LOG WHAT COMMAND...
#
# Runs a command in a folder and in the background, and says every few seconds that it still works. The heartbeat is this
# script itself, so it cannot outlive it. What Go prints is shown only where it fails: a line for each of some hundred
# modules.
with_heartbeat() {
  local folder=$1 log=$2 what=$3 begun=$SECONDS said=$SECONDS status=0
  shift 3
  (cd "$folder" && exec setsid "$@" >"$log" 2>&1) &
  work=$!
  while kill -0 "$work" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - said >= 8)); then
      said=$SECONDS
      say "still $what ($((SECONDS - begun)) s)"
    fi
  done
  wait "$work" || status=$?
  work=
  if [ "$status" -ne 0 ]; then
    tail -n 10 "$log" >&2
    return "$status"
  fi
  say "$what took $((SECONDS - begun)) s"
}

# build_pinned BIN MODULE BINARY PACKAGE LINKER_FLAGS ESTIMATE [INSTEAD]
#
# Builds a package of a module as BIN/BINARY, unless it stands there. INSTEAD ends the message about sources that cannot
# be had.
build_pinned() {
  local bin=$1 module=$2 binary=$3 package=$4 linker_flags=$5 estimate=$6 instead=${7:-}
  mkdir -p "$bin"
  exec 9>"$bin/.lock"
  if ! flock --nonblock 9; then
    say "waiting for another build of the same"
    until flock --wait 8 9; do say "still waiting for another build of the same"; done
  fi
  if [ ! -x "$bin/$binary" ]; then
    with_heartbeat "$module" "$bin/.log" "downloading the sources of $binary" go list -deps "$package" ||
      fail "the sources of $binary cannot be had: make the Go module proxy reachable$instead"
    say "building $binary: $estimate, once"
    with_heartbeat "$module" "$bin/.log" "building $binary" \
      go build -ldflags "$linker_flags" -o "$bin/.$binary.new" "$package" ||
      fail "$binary could not be built"
    mv "$bin/.$binary.new" "$bin/$binary"
  fi
  exec 9>&-
}
