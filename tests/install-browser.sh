#!/bin/sh
# The browser tests need Chromium, one of them Firefox. Install what is missing where that is one command and
# allowed; otherwise those tests are skipped, which only a newcomer may do: where CI is set this fails.
any() { for name; do command -v "$name" >/dev/null 2>&1 && return 0; done; return 1; }

missing=
any chromium chromium-browser google-chrome || missing="chromium"
# Firefox checks the page a second time: worth a download in CI, not on a newcomer's machine.
test -z "$CI" || any firefox-esr firefox || missing="$missing firefox-esr"
test -n "$missing" || exit 0

if [ "$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else sudo=none; fi
if any apt-get && [ "$sudo" != none ]; then
    echo "Installing for the browser tests: $missing …"
    # shellcheck disable=SC2086 # a list of packages
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null && exit 0
fi
echo "Not here: $missing. The tests that need it will be skipped; install it with your package manager to run them."
test -z "$CI"
