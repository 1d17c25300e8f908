#!/usr/bin/env bash
# Called by mmdebstrap with the folder into which the packages were extracted. Takes out the packages that only an
# installation needs, and leaves a record of the others where scanners look for it. Without ca-certificates, what calls
# an https address has to name others: certifi's, which lie in the virtual environment.
set -euo pipefail
root=$1
unneeded=" ca-certificates debconf dpkg mawk openssl perl-base tar usr-is-merged "

mkdir -p "$root/var/lib/dpkg/status.d"
for package in "$root"/var/cache/apt/archives/*.deb; do
    name=$(dpkg-deb --field "$package" Package)
    if [[ $unneeded == *" $name "* ]]; then
        dpkg-deb --fsys-tarfile "$package" | tar -t | grep -v '/$' | while read -r path; do rm -f "$root/$path"; done
    else
        { dpkg-deb --field "$package"; echo "Status: install ok installed"; } > "$root/var/lib/dpkg/status.d/$name"
    fi
done

cd "$root"
find usr/share/doc -type f ! -name copyright -delete
rm -rf usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/perl5 usr/share/bug
find usr etc var -xdev -depth -type d -empty ! -path 'var/cache/apt*' ! -path 'var/lib/apt*' ! -path var/tmp -delete
