# The root of the system: what the packages have, less what is not needed, plus ours.
# shellcheck shell=bash

readonly ROOT=$WORK/root
readonly EXTRACT=$WORK/extract
readonly CRATES=$WORK/crates

# The crates that the program is linked of, with their licences: made anew where they may be others.
crates() {
    local stamp
    stamp=$(cat Cargo.lock Cargo.toml crates/*/Cargo.toml "$HERE/lib/crates.py" | sha256sum)
    if [ "$(cat "$CRATES/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    rm -rf "$CRATES"
    mkdir -p "$CRATES"
    "$HERE/lib/crates.py" "$CRATES"
    echo "$stamp" >"$CRATES/stamp"
}

# The licences of everything that is in the image, before their folder goes. Packages of one source may
# share a folder through a link.
licences() {
    local name at copyright
    rm -rf "$WORK/licences"
    mkdir -p "$WORK/licences"
    while read -r name _; do
        at=$(find "$WORK/unpacked/usr/share/doc/$name" "$EXTRACT/$name/usr/share/doc/$name" \
            -maxdepth 0 -type l -printf '%l\n' 2>/dev/null || true)
        at=${at:-$name}
        copyright=
        for copyright in "$WORK/unpacked/usr/share/doc/$at/copyright" \
            "$EXTRACT"/*/usr/share/doc/"$at"/copyright; do
            if [ -e "$copyright" ]; then break; fi
        done
        [ -e "$copyright" ] || die "$name does not say what its licence is"
        cp "$copyright" "$WORK/licences/$name"
    done <"$WORK/packages.list"
    cp -r "$WORK/unpacked/usr/share/common-licenses" "$WORK/licences/"
    cp -r "$CRATES/licences" "$WORK/licences/crates"
    cp -r ui/dist/.licences "$WORK/licences/web"
    cp LICENSE-APACHE "$WORK/licences/understudy.LICENSE-APACHE"
    cp LICENSE-MIT "$WORK/licences/understudy.LICENSE-MIT"
}

# keep_programs: of /usr/bin and /usr/sbin only what `programs` names.
keep_programs() {
    local keep folder path name
    keep=" $(list "$HERE/programs" | tr '\n' ' ') "
    for folder in bin sbin; do
        for path in "$ROOT/usr/$folder"/*; do
            name=${path##*/}
            if [[ $keep != *" $name "* ]]; then rm -f "$path"; fi
        done
    done
    for name in $keep; do
        [ -e "$ROOT/usr/bin/$name" ] || [ -L "$ROOT/usr/bin/$name" ] ||
            [ -e "$ROOT/usr/sbin/$name" ] || [ -L "$ROOT/usr/sbin/$name" ] ||
            die "image/programs: no package has $name"
    done
    ln -s busybox "$ROOT/usr/bin/sh"
}

trim() {
    (
        cd "$ROOT" || exit
        rm -rf usr/share/{doc,man,locale,info,lintian,bug,bash-completion,zsh,polkit-1,dbus-1,perl5,mdadm} \
            usr/share/{initramfs-tools,xml,gdb,apport,base-files,base-passwd,debconf,doc-base,menu,pam*} \
            usr/lib/x86_64-linux-gnu/{gconv,perl-base,krb5,engines-3,ossl-modules,security,pkgconfig,audit} \
            usr/lib/udev/hwdb.d usr/lib/systemd/{catalog,user,user-preset,user-generators} \
            usr/lib/systemd/{system-generators,user-environment-generators,system-sleep,ntp-units.d} \
            usr/lib/{mime,pcrlock.d,init,lsb,kernel,sysusers.d,environment.d,dpkg,modules-load.d,tmpfiles.d/x11.conf} \
            usr/lib/tmpfiles.d/{20-systemd-shell-extra,20-systemd-ssh-generator,home,legacy,debian,systemd-nologin}.conf \
            usr/lib/openssh/{ssh-keysign,ssh-pkcs11-helper,ssh-sk-helper,agent-launch,ssh-session-cleanup} \
            usr/{games,local,include,src} usr/share/zoneinfo/{posix,right} \
            etc/{cron.d,init.d,default,runit,sv,ufw,logcheck,logrotate.d,pam.d,security,profile.d,skel,xdg} \
            etc/{update-motd.d,gss,dhcp,kernel,ca-certificates,dpkg,binfmt.d,ssh,issue,issue.net,credstore*} \
            var/lib/dpkg var/cache var/backups var/mail var/local var/spool home opt srv media boot
        mkdir -p usr/local var/cache var/spool etc/ssh usr/lib/tmpfiles.d
    )
    find "$ROOT" -name '*.la' -delete
}

# What programs and libraries need, as "file name"; a line "file" alone for each.
needed() {
    find "$ROOT"/usr/{bin,sbin,lib,lib64} \( -path '*/modules' -o -path '*/firmware' \) -prune -o \
        -type f \( -perm /111 -o -name '*.so*' \) -print0 |
        { xargs -0 readelf -d 2>/dev/null || true; } | # scripts are no ELF
        sed -nE 's/^File: (.*)/\1/p; s/.*\(NEEDED\).*\[(.*)\]/needs \1/p' |
        awk '$1 == "needs" { print file, $2; next } { file = $0; print file }'
}

# Removes libraries that nothing needs, except those that are opened by name at run time; nothing may
# need what is not there.
libraries() {
    local folder=$ROOT/usr/lib/x86_64-linux-gnu opened missing
    opened='^(libnss_(files|dns)|libcryptsetup|libkmod|libblkid|libmount|libfdisk|libtss2-(esys|mu|rc|tcti-device)|libgcc_s|libresolv|libseccomp|libapparmor|libbpf|libzstd|liblz4|liblzma|libpcre2-8|libip4tc|ld-linux.*)[.]so'
    {
        find "$folder" -maxdepth 1 -type l -name '*.so*' -printf 'link %f %l\n'
        needed
    } | awk -v folder="$folder/" -v opened="$opened" '
        $1 == "link" { at[$2] = $3; next }
        NF == 1 {
            name = $1
            sub(".*/", "", name)
            have[name] = $1
            if ($1 != folder name || name ~ opened) queue[++last] = $1
            else libraries[$1] = 1
        }
        NF == 2 { needs[$1] = needs[$1] " " $2 }
        END {
            for (i = 1; i <= last; i++) {
                if (queue[i] in done) continue
                done[queue[i]] = 1
                n = split(needs[queue[i]], names, " ")
                for (j = 1; j <= n; j++) {
                    name = names[j]
                    while (name in at) name = at[name]
                    if (name in have) queue[++last] = have[name]
                    else print "missing", names[j]
                }
            }
            for (file in libraries) if (!(file in done)) print "remove", file
        }' >"$WORK/libraries"
    missing=$(awk '$1 == "missing" { print $2 }' "$WORK/libraries" | sort -u | paste -sd' ')
    [ -z "$missing" ] || die "programs need $missing, which no package of the image has"
    awk '$1 == "remove" { print $2 }' "$WORK/libraries" | xargs -r rm
    find "$folder" -maxdepth 1 -xtype l -delete
}

certificates() {
    mkdir -p "$ROOT/etc/ssl/certs"
    find "$ROOT/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat \
        >"$ROOT/etc/ssl/certs/ca-certificates.crt"
    rm -r "$ROOT/usr/share/ca-certificates"
    find "$ROOT/etc/ssl/certs" -type l -delete
}

# Users and groups have fixed numbers in image/root/etc: what owns /data must stay the same for ever.
# A new release of systemd may want new ones (`u!` is a user who is locked in every way): the build
# says so.
users() {
    local name
    while read -r name; do
        grep -q "^$name:" "$ROOT/etc/passwd" || die "image/root/etc/passwd lacks the user $name"
    done < <(cat "$WORK"/unpacked/usr/lib/sysusers.d/{systemd-network,systemd-timesync,openssh-server}*.conf |
        awk '$1 ~ /^u!?$/ { print $2 }'
        grep -rhoE 'OWNER="[a-z-]+"' "$ROOT/usr/lib/udev/rules.d" | cut -d'"' -f2 | sort -u)
    while read -r name; do
        grep -q "^$name:" "$ROOT/etc/group" || die "image/root/etc/group lacks the group $name"
    done < <(cat "$WORK"/unpacked/usr/lib/sysusers.d/systemd-*.conf 2>/dev/null | awk '$1 == "g" { print $2 }'
        grep -rhoE 'GROUP="[a-z-]+"' "$ROOT/usr/lib/udev/rules.d" | cut -d'"' -f2 | sort -u)
}

unit_exists() {
    local plain=$1
    # shellcheck disable=SC2001 # the part between @ and the dot goes
    if [[ $1 == *@*.* ]]; then plain=$(sed 's/@.*\./@./' <<<"$1"); fi
    local folder
    for folder in etc usr/lib; do
        if [ -e "$ROOT/$folder/systemd/system/$plain" ]; then
            echo "/$folder/systemd/system/$plain"
            return
        fi
    done
    return 1
}

units() {
    local verb unit target path own=$ROOT/etc/systemd/system
    mkdir -p "$own"
    cp systemd/*.service "$ROOT/usr/lib/systemd/system/"
    if [ -d systemd/image ]; then cp -r systemd/image/. "$own/"; fi
    rm -f "$ROOT/usr/lib/systemd/system/understudy-witness.service"
    while read -r verb unit target; do
        target=$own/${target:-multi-user.target}.wants
        case $verb in
        on | may)
            if ! path=$(unit_exists "$unit"); then
                if [ "$verb" = may ]; then continue; fi
                die "image/units: there is no unit $unit"
            fi
            mkdir -p "$target"
            ln -sf "$path" "$target/$unit"
            ;;
        off) ln -sfn /dev/null "$own/$unit" ;;
        *) die "image/units: $verb?" ;;
        esac
    done < <(list "$HERE/units")
    ln -sf /usr/lib/systemd/system/multi-user.target "$own/default.target"
}

# The wanted modules and what they depend on, unpacked: they are packed once, with all. Their
# signatures stay, Secure Boot asks for them.
# shellcheck disable=SC2153 # KERNEL is of `build`
modules() {
    local kernel=$EXTRACT/$KERNEL_PACKAGE wanted name path all=$WORK/modules.paths
    if ! [ -e "$kernel/usr/lib/modules/$KERNEL/modules.dep" ]; then depmod -b "$kernel/usr" "$KERNEL"; fi
    mapfile -t wanted < <(list "$HERE/modules" | tr -s ' ' '\n')
    if ! modprobe -d "$kernel/usr" -S "$KERNEL" -a --show-depends "${wanted[@]}" >"$all" 2>/dev/null; then
        for name in "${wanted[@]}"; do
            modprobe -d "$kernel/usr" -S "$KERNEL" --show-depends "$name" >/dev/null 2>&1 ||
                die "image/modules: kernel $KERNEL has no module $name"
        done
        die "image/modules: what kernel $KERNEL says about them cannot be read"
    fi
    while read -r path; do
        name=${path#"$kernel/usr/"}
        mkdir -p "$ROOT/usr/${name%/*}"
        case $path in
        *.xz) xz -dc "$path" >"$ROOT/usr/${name%.xz}" ;;
        *) cp "$path" "$ROOT/usr/$name" ;;
        esac
    done < <(awk '$1 == "insmod" { print $2 }' "$all" | LC_ALL=C sort -u)
    cp "$kernel/usr/lib/modules/$KERNEL"/modules.{builtin,builtin.modinfo,order} \
        "$ROOT/usr/lib/modules/$KERNEL/"
    depmod -b "$ROOT/usr" "$KERNEL"
    # Only these two forms are read at run time; the rest is for people.
    rm -f "$ROOT/usr/lib/modules/$KERNEL"/modules.{dep,alias,symbols,builtin.alias,softdep.bin}
}

firmware() {
    local pattern path found
    while read -r pattern; do
        found=no
        # shellcheck disable=SC2231 # the pattern is one
        for path in "$EXTRACT"/firmware-*/usr/lib/firmware/$pattern; do
            if [ -e "$path" ]; then
                found=yes
                install -D -m 644 "$path" "$ROOT/usr/lib/firmware/${path#*/usr/lib/firmware/}"
            fi
        done
        [ "$found" = yes ] || die "image/firmware: no package has $pattern"
    done < <(list "$HERE/firmware")
}

own_files() {
    cp -r "$HERE/root/." "$ROOT/"
    install -m 755 "$BINARY" "$ROOT/usr/bin/understudy"
    mkdir -p "$ROOT/etc/understudy"
    cp -r "$TRUSTED" "$ROOT/etc/understudy/update-keys"
    : >"$ROOT/etc/machine-id"
    echo understudy >"$ROOT/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$ROOT/etc/hosts"
    ln -sfn /proc/self/mounts "$ROOT/etc/mtab"
    ln -sfn /usr/share/zoneinfo/Etc/UTC "$ROOT/etc/localtime"
    ln -sfn usr/lib/systemd/systemd "$ROOT/init"
    local debian
    debian=$(sed -n 's/^VERSION="\(.*\)"/\1/p' "$WORK/unpacked/usr/lib/os-release")
    rm -f "$ROOT/etc/os-release"
    cat >"$ROOT/usr/lib/os-release" <<CONF
NAME="Understudy"
ID=understudy
ID_LIKE=debian
PRETTY_NAME="Understudy $VERSION"
VERSION="$VERSION (Debian $debian)"
VERSION_ID="$VERSION"
IMAGE_ID=understudy
IMAGE_VERSION="$VERSION"
BUILD_ID="$COMMIT"
UNDERSTUDY_BUILT=$SOURCE_DATE_EPOCH
CONF
    ln -s ../usr/lib/os-release "$ROOT/etc/os-release"
    mkdir -p "$ROOT"/{data,dev,proc,sys,run,tmp,root,mnt,var/tmp,var/log,var/lib}
}

root() {
    rm -rf "$ROOT"
    cp -a "$WORK/unpacked" "$ROOT"
    licences
    keep_programs
    trim
    libraries
    certificates
    modules
    firmware
    own_files
    units
    users
    # Nothing gains rights by being run; everything is root's (the archive says so), some of it only his.
    chmod -R u+rwX,go+rX,go-w,ug-s "$ROOT"
    chmod 1777 "$ROOT/tmp" "$ROOT/var/tmp"
    chmod 0700 "$ROOT/root"
}
