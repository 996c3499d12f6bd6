"""What an appliance tells devices, read by others than us: Thunderbird, xmllint with the tables of Microsoft,
openssl and plistlib with the keys of Apple, named-checkzone. The data folder, an address in the domain
mx.localhost and its password are the arguments; ports are those of configs/dev.toml."""

import http.cookiejar
import json
import plistlib
import re
import smtplib
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from email.message import EmailMessage
from pathlib import Path

import thunderbird

data, who, password = sys.argv[1:]
HERE = Path(__file__).parent
AUTHORITY = f"{data}/tls/ca.pem"
NAME, HTTPS, IMAPS, SUBMISSIONS = "mx.localhost", 2443, 2993, 2465
URL = f"https://127.0.0.1:{HTTPS}"
SCHEMAS = "http://schemas.microsoft.com/exchange/autodiscover/outlook"
trust = ssl.create_default_context(cafile=AUTHORITY)
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=trust),
    urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
)


def ask(path, body=None, kind="application/json", host=f"{NAME}:{HTTPS}"):
    fields = {"Host": host, "X-Understudy": "1", "Content-Type": kind}
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    with opener.open(urllib.request.Request(URL + path, data=body, headers=fields), timeout=20) as answer:
        return answer.read()


def run(*command, given=None):
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def zone():
    text = ask(f"/api/connect/zone?domain={NAME}").decode()
    head = (f"$ORIGIN {NAME}.\n@ 300 IN SOA ns hostmaster 1 3600 600 86400 300\n"
            "@ 300 IN NS ns\nns 300 IN A 127.0.0.1\n@ 300 IN A 127.0.0.1\n")
    with tempfile.NamedTemporaryFile("w", suffix=".zone") as file:
        file.write(head + text)
        file.flush()
        dump = run("named-checkzone", "-i", "local", "-D", "-s", "full", "-o", "-", NAME, file.name).decode()
    found = {}
    for line in dump.splitlines():
        match line.split():
            case [owner, _, "IN", "SRV", priority, weight, port, target]:
                found[owner.removesuffix(f"._tcp.{NAME}.")] = (int(priority), int(weight), int(port), target)
    assert found == {
        "_imaps": (0, 1, IMAPS, f"{NAME}."),
        "_imap": (10, 1, 2143, f"{NAME}."),
        "_submissions": (0, 1, SUBMISSIONS, f"{NAME}."),
        "_submission": (10, 1, 2587, f"{NAME}."),
        "_jmap": (0, 1, 443, f"{NAME}."),
        "_autodiscover": (0, 1, 443, f"{NAME}."),
    }, found
    print(f"named-checkzone: {len(found)} records")


def autodiscover():
    def answer(address):
        question = (
            f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{SCHEMAS}/requestschema/2006">'
            f"<Request><EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>"
            f"{SCHEMAS}/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
        )
        text = ask("/Autodiscover/Autodiscover.xml", question.encode(), "text/xml")
        run("xmllint", "--noout", "--nonet", "--schema", str(HERE / "autodiscover.xsd"), "-", given=text)
        return text

    assert b"<Type>IMAP</Type>" in answer(who)
    assert b"<ErrorCode>500<" in answer("somebody@elsewhere.example")
    assert b"<ErrorCode>600<" in answer("nobody")
    print("xmllint: settings and two errors of Autodiscover")


KINDS = {"string": str, "integer": int, "boolean": bool, "array": list, "dictionary": dict}


def payload(has, known):
    """Each key is Apple's and of its type and values, and none is missing that must be there."""
    for key, value in has.items():
        rule = known[key]
        assert type(value) is KINDS[rule["type"]], (key, value)
        assert value in rule.get("values", [value]), (key, value)
        assert not isinstance(value, str) or re.search(rule.get("format", ""), value), (key, value)
    missing = [key for key, rule in known.items() if rule["required"] and key not in has]
    assert not missing, missing


def profile():
    """The app password that it brings."""
    apple = json.loads((HERE / "apple.json").read_text())
    url = json.loads(ask("/api/connect/apple", {"label": "Grüße & Co"}))["url"]
    signed = ask(url)
    # The certificate is one of a server, not of mail.
    verify = ("openssl", "cms", "-verify", "-inform", "DER", "-CAfile", AUTHORITY, "-purpose", "any")
    plain = run(*verify, given=signed)
    has = plistlib.loads(plain)
    payload(has, apple["TopLevel"])
    seen = {has["PayloadUUID"], has["PayloadIdentifier"]}
    for part in has["PayloadContent"]:
        payload(part, apple["CommonPayloadKeys"] | apple[part["PayloadType"]])
        for key in ("PayloadUUID", "PayloadIdentifier"):
            assert part[key] not in seen, "unique within the profile"
            seen.add(part[key])
    (mail,) = [part for part in has["PayloadContent"] if part["PayloadType"] == "com.apple.mail.managed"]
    for way, port in (("Incoming", IMAPS), ("Outgoing", SUBMISSIONS)):
        told = [mail[f"{way}MailServer{key}"] for key in ("HostName", "PortNumber", "UseSSL", "Username")]
        assert told == [NAME, port, True, who], told
    print(f"openssl, plistlib: a signed profile, {len(mail)} keys of mail are Apple's")
    return mail["IncomingPassword"]


ask("/api/session", {"name": who, "password": password})
zone()
autodiscover()
secret = profile()
note = EmailMessage()
note["From"], note["To"], note["Subject"] = who, who, "for a real client"
note.set_content("hello")
with smtplib.SMTP_SSL("127.0.0.1", SUBMISSIONS, context=trust, timeout=20) as smtp:
    smtp.login(who, secret)
    smtp.send_message(note)
thunderbird.check(AUTHORITY, who, secret, {
    "incoming": [NAME, IMAPS, "imap"], "outgoing": [NAME, SUBMISSIONS, "smtp"],
}, HTTPS)
