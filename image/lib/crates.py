#!/usr/bin/env python3
"""The crates that the program is linked of, and their licences.

    image/lib/crates.py FOLDER

FOLDER/list says "name version sha256" of each, FOLDER/licences/NAME-VERSION/ has its licence files. Which
ones they are says `cargo tree` (`cargo metadata` adds what only tests and the lab want of features), where
they lie says `cargo metadata`. Members of this workspace are ours, and not among them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

TARGET = "x86_64-unknown-linux-gnu"
FILE = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
FOLDER = re.compile(r"licen[cs]es?$", re.IGNORECASE)
# Source and settings that are only named so.
OTHER = re.compile(r"\.(rs|c|h|cc|go|py|sh|pl|toml|ya?ml|json)$", re.IGNORECASE)


def cargo(*arguments):
    if not shutil.which("cargo"):
        sys.exit("image: there is no cargo, which says what crates the program is linked of")
    done = subprocess.run(["cargo", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"image: cargo {arguments[0]} fails")
    return done.stdout


def linked():
    """Name and version of each crate."""
    tree = cargo(
        *("tree", "--locked", "--package", "understudy", "--edges", "normal,build", "--target", TARGET),
        *("--prefix", "none", "--no-dedupe", "--format", "{p}"),
    )
    # "name v1.2.3 (proc-macro)"; a member's folder comes last, in parentheses.
    return {(words[0], words[1].removeprefix("v")) for words in map(str.split, tree.splitlines()) if words}


def files(folder):
    """Its licence files, those of sources that it brings along (C libraries) too, from its folder on."""
    found = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        of_licences = at != folder and FOLDER.match(os.path.basename(at))
        for name in names:
            if (of_licences or FILE.match(name)) and not OTHER.search(name):
                found.append(os.path.relpath(os.path.join(at, name), folder))
    return sorted(found)


def take(package, into):
    folder = os.path.dirname(package["manifest_path"])
    found = files(folder)
    os.makedirs(into)
    for name in found:
        target = os.path.join(into, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(folder, name), target)
    # What lies deeper is of somebody else's sources.
    if any("/" not in name or FOLDER.match(name.split("/")[0]) for name in found):
        return
    licence = package["license"]
    if not licence:
        sys.exit(f"image: the crate {package['name']} {package['version']} does not say what its licence is")
    with open(os.path.join(into, "LICENSE.txt"), "w", encoding="utf-8") as out:
        out.write(f"{licence}\n{package['repository'] or ''}\n".rstrip() + "\n")


def main(into):
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    packages = {(p["name"], p["version"]): p for p in metadata["packages"]}
    with open("Cargo.lock", "rb") as file:
        lock = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    lines = []
    for crate in sorted(linked()):
        package = packages[crate]
        if package["source"] is None:
            continue
        take(package, os.path.join(into, "licences", "-".join(crate)))
        if not lock[crate]:
            sys.exit(f"image: Cargo.lock has no hash of the crate {crate[0]} {crate[1]}")
        lines.append(f"{crate[0]} {crate[1]} {lock[crate]}\n")
    if not lines:
        sys.exit("image: cargo tree names no crates")
    with open(os.path.join(into, "list"), "w", encoding="utf-8") as out:
        out.writelines(lines)


if __name__ == "__main__":
    main(sys.argv[1])
