#!/bin/sh
# Makes the virtual environment $1 from requirements.lock, and sees to the EGL libraries that rendering needs.
set -eu
venv=${1:-.venv}

is_312() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; }

python=
for candidate in "${PYTHON312:-}" python3.12 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && is_312 "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Tandem needs Python 3.12 and found none as python3.12, python3 or python." >&2
    echo "Install it (Debian, Ubuntu: apt install python3.12 python3.12-venv; or pyenv install 3.12)," >&2
    echo "or name it: make setup PYTHON312=/path/to/python3.12" >&2
    exit 1
fi

egl=$(ldconfig -p 2>/dev/null | grep -c 'libEGL\.so\.1' || true)
mesa=$(ldconfig -p 2>/dev/null | grep -c 'libEGL_mesa\.so\.0\|libEGL_nvidia\.so\.0' || true)
if [ "$(uname)" = Linux ] && { [ "$egl" = 0 ] || [ "$mesa" = 0 ]; }; then
    packages="libegl1 libegl-mesa0 libgl1-mesa-dri"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $packages (rendering without a screen) ..."
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages; } >/dev/null ||
            echo "Could not install $packages: cameras and GIFs of the simulation will not work." >&2
    else
        echo "Cameras and GIFs of the simulation need EGL: sudo apt install $packages" >&2
    fi
fi

if ! is_312 "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "Making $venv with $("$python" --version) ..."
    "$python" -m venv --clear "$venv" || {
        echo "python -m venv failed. On Debian and Ubuntu: apt install python3.12-venv" >&2
        exit 1
    }
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==0.13.8"
echo "Installing the locked dependencies (about 6 GB with the CUDA build of torch) ..."
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --quiet --no-deps --editable .
echo "Ready."
