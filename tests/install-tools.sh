#!/bin/sh
# What the tests talk to besides Python: a browser, and in CI a second one, Redis and a TURN server. Installs what
# is missing where that is one command and allowed; otherwise those tests are skipped, which only a newcomer
# may do: where CI is set this fails.
any() { for name; do command -v "$name" >/dev/null 2>&1 && return 0; done; return 1; }

missing=
any chromium chromium-browser google-chrome || missing="chromium"
# The rest is worth a download in CI, not on a newcomer's machine.
if test -n "$CI"; then
    any firefox-esr firefox || missing="$missing firefox-esr"
    any redis-server || missing="$missing redis-server"
    any turnserver || missing="$missing coturn"
    any ip || missing="$missing iproute2"
    any npm || missing="$missing npm"
fi
test -n "$missing" || exit 0

if [ "$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else sudo=none; fi
if any apt-get && [ "$sudo" != none ]; then
    echo "Installing for the tests: $missing …"
    # shellcheck disable=SC2086 # a list of packages
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null && exit 0
fi
echo "Not here: $missing. The tests that need it will be skipped; install it with your package manager to run them."
test -z "$CI"
