#!/usr/bin/env bash
# Puts erofs-utils 1.8 of Debian trixie, with the libraries that it needs, into an empty directory. Nothing of
# it is installed. The mirrors are those that apt uses on this machine.
set -euo pipefail
target=$1
mkdir -p "$target"/apt/{lists,archives}/partial "$target"/apt/sources "$target"/root

# Suites that derive from the release (updates, security) are left out.
for file in /etc/apt/sources.list.d/*.sources; do
  [[ -e $file ]] || continue
  awk 'BEGIN { RS = ""; ORS = "\n\n" } /Suites:/ && !/-security/' "$file" |
    sed -E 's/^Suites:.*/Suites: trixie/; s/^Components:.*/Components: main/' >"$target/apt/sources/${file##*/}"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [[ -e $file ]] || continue
  sed -nE 's/^deb (\[[^]]*\] )?([^ ]*debian\/?) [a-z]+ .*/deb \1\2 trixie main/p' "$file" | sort -u \
    >"$target/apt/sources/${file##*/}"
done

apt=(
  -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$target/apt/sources"
  -o Dir::State::Lists="$target/apt/lists" -o Dir::State::status=/dev/null
  -o Dir::Cache="$target/apt" -o Dir::Cache::Archives="$target/apt/archives"
  -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 -o Debug::NoLocking=1
)
apt-get "${apt[@]}" update
# With an empty list of installed packages, apt also downloads every library.
apt-get "${apt[@]}" install -y --download-only --no-install-recommends erofs-utils
for package in "$target"/apt/archives/*.deb; do dpkg-deb -x "$package" "$target/root"; done
rm -r "$target/apt"
