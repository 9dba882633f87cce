#!/usr/bin/env bash
# Makes a Debian package of a node that was built already:
#     deploy/deb.sh target/dist/openprod [FOLDER]     writes FOLDER/openprod_VERSION_ARCHITECTURE.deb; FOLDER is . by default
# It needs dpkg-deb, strip and gzip; COMPRESSION is xz unless it is set. Nothing in the package depends on when or by whom it was made.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?names the binary}")
into=$(realpath "${2:-.}")
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}

version=$("$binary" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
install -D -m 755 "$binary" "$root/usr/bin/openprod"
strip "$root/usr/bin/openprod"
# The newest interface of the C library that the program asks for.
glibc=$(grep -aoE 'GLIBC_[0-9]+\.[0-9]+' "$root/usr/bin/openprod" | sort -Vu | tail -1 | cut -d_ -f2)

install -D -m 644 "$here/openprod.service" "$root/lib/systemd/system/openprod.service"
install -D -m 644 "$here/openprod.example.toml" "$root/etc/openprod/openprod.toml"
# The service and whoever administers it speak of one folder.
sed -i 's|^#data_dir = .*|data_dir = "/var/lib/openprod"|' "$root/etc/openprod/openprod.toml"
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/doc/openprod"
"$binary" man "$root/usr/share/man/man1"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
for shell in bash:bash-completion/completions/openprod zsh:zsh/vendor-completions/_openprod \
    fish:fish/vendor_completions.d/openprod.fish; do
    mkdir -p "$(dirname "$root/usr/share/${shell#*:}")"
    "$binary" completions "${shell%%:*}" >"$root/usr/share/${shell#*:}"
done
install -m 644 "$here/../LICENSE" "$root/usr/share/doc/openprod/copyright"
gzip -9nc "$here/../CHANGELOG.md" >"$root/usr/share/doc/openprod/changelog.gz"
chmod -R u=rwX,go=rX "$root"

mkdir "$root/DEBIAN"
size=$(du -sk --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@GLIBC@/$glibc/; s/@SIZE@/$size/" \
    "$here/debian/control" >"$root/DEBIAN/control"
echo /etc/openprod/openprod.toml >"$root/DEBIAN/conffiles"
install -m 755 "$here"/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
package=$into/openprod_${version}_$architecture.deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" -b "$root" "$package" >/dev/null
echo "$package"
