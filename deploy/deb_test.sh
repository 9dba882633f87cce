#!/usr/bin/env bash
# Installs the package of a binary into an empty root, runs it there, removes it and purges it. OPENPROD names the binary.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Unpacked again at once: only what is shipped is worth compressing well.
package=$(COMPRESSION=none "$here/deb.sh" "${OPENPROD:?names the binary}" "$work")
root=$work/root
mkdir -p "$root/var/lib/dpkg"/{info,updates} "$root/var/lib/openprod"
touch "$root/var/lib/dpkg/status"
# The C library is that of this machine, and the scripts of the package run here, told that their root is elsewhere.
dpkg=(dpkg --root="$root" --log=/dev/null --force-not-root --force-depends --force-script-chrootless --force-bad-path)

fails() {
    echo "$1"
    exit 1
}

"${dpkg[@]}" -i "$package" >"$work/log" 2>&1 || { cat "$work/log"; fails "it was not installed"; }
"$root/usr/bin/openprod" --version
grep -q '^data_dir = "/var/lib/openprod"' "$root/etc/openprod/openprod.toml" || fails "the configuration names no folder"
"$root/usr/bin/openprod" --config "$root/etc/openprod/openprod.toml" config check >/dev/null || fails "the configuration is wrong"
for file in usr/share/man/man1/openprod.1.gz usr/share/bash-completion/completions/openprod \
    usr/share/doc/openprod/copyright lib/systemd/system/openprod.service; do
    [ -s "$root/$file" ] || fails "there is no $file"
done
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/bin/openprod|$root/usr/bin/openprod|" "$root/lib/systemd/system/openprod.service" >"$work/openprod.service"
    said=$(systemd-analyze verify "$work/openprod.service" 2>&1 | grep openprod || true)
    [ -z "$said" ] || fails "systemd says: $said"
else
    echo "NOT RUN: there is no systemd-analyze"
fi
echo 'log = "warn"' >>"$root/etc/openprod/openprod.toml"
"${dpkg[@]}" -i --force-confold "$package" >>"$work/log" 2>&1 || fails "it was not installed again"
grep -q '^log = "warn"' "$root/etc/openprod/openprod.toml" || fails "an upgrade changed what the operator had set"
"${dpkg[@]}" -r openprod >>"$work/log" 2>&1 || fails "it was not removed"
[ ! -e "$root/usr/bin/openprod" ] || fails "the program is still there"
[ -e "$root/etc/openprod/openprod.toml" ] || fails "a removal took the configuration along"
"${dpkg[@]}" -P openprod >>"$work/log" 2>&1 || fails "it was not purged"
[ ! -e "$root/etc/openprod" ] || fails "a purge left the configuration"
[ -d "$root/var/lib/openprod" ] || fails "a purge took the workspaces along"
echo "The package is installed, upgraded, removed and purged well: $(basename "$package"), $(stat -c %s "$package") bytes"
