#!/bin/sh
# Installs the vendor's JavaScript client as the lock file says. Without npm, or a way to its packages, the tests
# that need it are skipped, which only a newcomer may do: where CI is set this fails.
cd "$(dirname "$0")" || exit
test node_modules/.package-lock.json -nt package-lock.json && exit 0
if command -v npm >/dev/null 2>&1; then
    npm ci --silent --no-audit --no-fund && exit 0
    echo "npm could not install the vendor's JavaScript client. The tests that need it will be skipped."
else
    echo "Not here: npm. The tests with the vendor's JavaScript client will be skipped."
fi
test -z "$CI"
