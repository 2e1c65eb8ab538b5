#!/usr/bin/env bash
# Makes .venv: a virtual environment with this checkout (editable) and the pinned versions of everything it needs.
#
#   ./setup.sh              quick when nothing changed; `make demo` and `make test` call it
#   PYTHON=python3.12 ./setup.sh    with another Python (from 3.11 on)
#
# It uses uv where uv is to be had (on PATH, else from the registry), and pip otherwise. A stamp inside .venv says what was
# installed; it is taken away before anything changes and comes back last, so that a .venv without one, which is what
# Ctrl-C leaves, is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

VENV=.venv
PY=$VENV/bin/python
STAMP=$VENV/retrieval-installed
UNFINISHED=$VENV/retrieval-unfinished
LOG=$VENV/setup.log
MINIMUM='import sys; sys.exit(sys.version_info < (3, 11))'

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# What decides about the environment's contents.
wanted() {
    "$PY" - <<'PYTHON'
import hashlib, pathlib, sys
digest = hashlib.sha256(sys.version.encode())
for name in ("setup.cfg", "setup.py", "retrieval/base/_kernel.c", "retrieval/base/_kernel.h", "retrieval/base/_lists.c",
             "pyproject.toml", "constraints.txt"):
    digest.update(pathlib.Path(name).read_bytes())
print(pathlib.Path.cwd())  # the scripts in .venv/bin name this folder
print(digest.hexdigest())
PYTHON
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$MINIMUM" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed, and ${PYTHON:-python3} is $(${PYTHON:-python3} --version 2>&1 | head -n 1);" \
        "install one, or name it: PYTHON=/path/to/python3.11 ./setup.sh"
}

# Runs a command whose output belongs in the log, with a running clock where somebody is watching.
watched() {
    local what=$1 clock='' code=0
    shift
    if [ -t 2 ]; then
        (
            begun=$SECONDS
            while sleep 1 && kill -0 $$ 2>/dev/null; do
                printf '\rsetup: %s … %d s ' "$what" $((SECONDS - begun)) >&2
            done
        ) &
        clock=$!
    else
        say "$what"
    fi
    "$@" >>"$LOG" 2>&1 || code=$?
    if [ -n "$clock" ]; then
        kill "$clock" 2>/dev/null || true
        wait "$clock" 2>/dev/null || true
        printf '\r\033[Ksetup: %s\n' "$what" >&2
    fi
    return $code
}

# uv reads none of pip's settings: hand over the ones that say where packages come from.
set_up_uv() {
    local links index
    links=${PIP_FIND_LINKS:-$("$PY" -m pip config get global.find-links 2>/dev/null || true)}
    index=${PIP_INDEX_URL:-$("$PY" -m pip config get global.index-url 2>/dev/null || true)}
    [ -n "${UV_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${links// /,}"
    [ -n "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] || [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    [ -n "${SSL_CERT_FILE:-}" ] || [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="$PIP_CERT"
}

# The installers' last words, in one sentence.
failed() {
    local why
    if grep -q 'from versions: none' "$LOG" && grep -qE "after connection broken|Max retries exceeded" "$LOG"; then
        why=$(grep -oE "(\[Errno|Failed to resolve|timed out|SSLError|ProxyError)[^')]*" "$LOG" | tail -n 1)
        die "the package registry cannot be reached (${why:-no reason given}); check the network, or name your mirror in" \
            "PIP_INDEX_URL, and run the same command again. The whole log: $LOG"
    fi
    tail -n 15 "$LOG" >&2
    die "the packages could not be installed, for the reason above; put it right and run the same command again." \
        "The whole log: $LOG"
}

trap 'say "stopped; the same command makes it whole."; exit 130' INT
trap 'exit 143' TERM

if [ -f $STAMP ] && [ ! -e $UNFINISHED ] && [ "$(wanted 2>/dev/null)" = "$(cat $STAMP)" ]; then
    exit 0
fi
begun=$SECONDS

rm -rf $VENV.old
if [ -e $UNFINISHED ] || { [ -f $STAMP ] && [ "$(head -n 1 $STAMP)" != "$(pwd -P)" ]; } ||
    { [ -e $VENV ] && ! "$PY" -c "$MINIMUM" 2>/dev/null; }; then
    say "$VENV is unfinished, moved or broken; making it anew"
    mv $VENV $VENV.old  # in one step: a half-deleted one must not pass for a good one
    rm -rf $VENV.old
fi
if [ -e $VENV ]; then
    touch $UNFINISHED
    rm -f $STAMP
else
    python=$(find_python)
    mkdir $VENV
    touch $UNFINISHED
    watched "making $VENV with $("$python" --version)" "$python" -m venv $VENV || die "$python cannot make a virtual" \
        "environment ($(tail -n 1 "$LOG")); on Debian and Ubuntu, \`apt-get install python3-venv\` gives it that."
fi

"$PY" -m pip --version >/dev/null 2>&1 || "$PY" -m ensurepip --default-pip >>"$LOG" 2>&1 || failed
if ! uv=$(command -v uv) && uv=$VENV/bin/uv && [ ! -x "$uv" ]; then
    watched "getting uv, the faster installer" "$PY" -m pip install --quiet --retries 1 --disable-pip-version-check \
        --only-binary :all: uv || uv=''
fi
if [ -n "$uv" ]; then
    set_up_uv
    watched "installing the pinned packages with uv (about half a minute)" \
        "$uv" pip install --python "$PY" --constraint constraints.txt --editable '.[dev]' || uv=''
fi
if [ -z "$uv" ]; then
    watched "installing the pinned packages with pip (one to two minutes)" \
        "$PY" -m pip install --retries 1 --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' || failed
fi

wanted >$STAMP.new
mv $STAMP.new $STAMP
rm -f $UNFINISHED

# What the first index of photographs would otherwise wait for; it does without where this cannot be kept.
watched "making the encoder for photographs ready (some seconds)" \
    "$PY" -c 'from retrieval.encoder import Encoder; Encoder.load("default", runtime="onnx", threads=1)' ||
    say "the encoder for photographs is made ready by the first build instead; see $LOG"
say "done in $((SECONDS - begun)) s"
