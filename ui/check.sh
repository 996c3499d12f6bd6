#!/bin/sh
# Everything that can be said of the app without a browser; `npm test` is the rest.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts
npm run --silent check
npm run --silent unit
npm run --silent build

# What the first view loads, compressed, must stay small: people come with a telephone's connection.
limit=204800
size=0
for file in dist/index.html $(grep -o 'assets/[A-Za-z0-9_.-]*' dist/index.html | sort -u | sed 's|^|dist/|'); do
  size=$((size + $(gzip -9 -c "$file" | wc -c)))
done
echo "initial load: $size bytes gzip"
[ "$size" -le "$limit" ] || { echo "ui: the initial load is larger than $limit bytes" >&2; exit 1; }

git diff --exit-code --stat -- dist
[ -z "$(git status --porcelain -- dist)" ] || { echo "ui: dist is not what was committed" >&2; exit 1; }
