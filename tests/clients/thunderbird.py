"""The real Thunderbird, without a window, by Marionette: its modules find our settings, and it reads mail.

A proxy of ours brings it to the appliance's port of HTTPS, whose number is not 443 here, and nowhere else."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

WITHIN = 45


def proxy(https):
    """CONNECT to 443 of mx.localhost; all else is refused, so that nothing is asked of the internet."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(client):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < 8192:
            piece = client.recv(4096)
            if not piece:
                return client.close()
            head += piece
        if not head.startswith(b"CONNECT mx.localhost:443 "):
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return client.close()
        server = socket.create_connection(("127.0.0.1", https))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        return pump(client, server)

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Marionette:
    """Messages are LENGTH:JSON, [0, id, command, parameters] and [1, id, error, result]."""

    def __init__(self, port):
        end = time.monotonic() + WITHIN
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN)
                break
            except OSError:
                assert time.monotonic() < end, "Thunderbird does not listen"
                time.sleep(0.2)
        self.file, self.id = self.socket.makefile("rb"), 0
        assert self.read()["marionetteProtocol"] == 3

    def read(self):
        length = b""
        while (byte := self.file.read(1)) != b":":
            assert byte.isdigit(), "Thunderbird is gone"
            length += byte
        return json.loads(self.file.read(int(length)))

    def ask(self, command, **parameters):
        self.id += 1
        text = json.dumps([0, self.id, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, result = self.read()
        assert number == self.id and not error, error
        return result

    def script(self, text, *arguments):
        self.ask("WebDriver:SetTimeouts", script=WITHIN * 1000)
        done = self.ask("WebDriver:ExecuteAsyncScript", script=text, args=arguments)
        assert "error" not in done["value"], done["value"]
        return done["value"]


SCRIPT = """
const [pem, who, password, done] = arguments;
(async () => {
  const from = name => ChromeUtils.importESModule(`resource:///modules/${name}.sys.mjs`);
  Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
    .addCertFromBase64(pem.replace(/-----[^-]*-----|\\s/g, ""), "C,,");
  const domain = who.split("@")[1];
  const { FetchConfig } = from("accountcreation/FetchConfig");
  const { fetchConfigFromExchange } = from("accountcreation/ExchangeAutoDiscover");
  const { AccountConfig } = from("accountcreation/AccountConfig");
  const { CreateInBackend } = from("accountcreation/CreateInBackend");
  const { MailServices } = from("MailServices");
  const plain = config => ["incoming", "outgoing"].map(way => {
    const { hostname, port, type, socketType, auth, username } = config[way];
    return [way, { server: [hostname, port, type], tls: socketType == Ci.nsMsgSocketType.SSL,
      password: auth == Ci.nsMsgAuthMethod.passwordCleartext, username }];
  });
  const found = await FetchConfig.fromISP(domain, who, new AbortController().signal);
  const told = { source: found.subSource, autoconfig: Object.fromEntries(plain(found)) };
  const outlook = await fetchConfigFromExchange(domain, who, new AbortController().signal, null, password,
    () => Promise.reject(new Error("asked about another host")));
  told.autodiscover = Object.fromEntries(plain(outlook));

  AccountConfig.replaceVariables(found, "Anna", who, password);
  found.incoming.password = found.outgoing.password = password;
  found.rememberPassword = true;
  const account = await CreateInBackend.createAccountInBackend(found);
  const server = account.incomingServer;
  told.username = server.username;
  server.performExpand(null);
  const end = Date.now() + 25000;
  told.subjects = [];
  while (!told.subjects.length && Date.now() < end) {
    await new Promise(next => Cc["@mozilla.org/timer;1"].createInstance(Ci.nsITimer)
      .initWithCallback(next, 300, Ci.nsITimer.TYPE_ONE_SHOT));
    const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
    if (inbox) {
      inbox.updateFolder(null);
      told.subjects = [...inbox.messages].map(message => message.mime2DecodedSubject);
    }
  }
  return told;
})().then(done, error => done({ error: `${error}`, stack: `${error?.stack}`,
  all: (error?.errors ?? []).map(String) }));
"""


def check(authority, who, password, servers, https):
    folder = Path(tempfile.mkdtemp())
    (folder / "profile").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    preferences = {
        "marionette.port": port,
        "network.proxy.type": 1,
        "network.proxy.http": "127.0.0.1",
        "network.proxy.http_port": proxy(https),
        "network.proxy.share_proxy_settings": True,
        "network.proxy.allow_hijacking_localhost": True,
        "app.update.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "toolkit.telemetry.enabled": False,
        "mail.provider.suppress_dialog_on_startup": True,
    }
    for end in ("", "_port"):
        preferences[f"network.proxy.ssl{end}"] = preferences[f"network.proxy.http{end}"]
    lines = [f'user_pref("{name}", {json.dumps(value)});\n' for name, value in preferences.items()]
    (folder / "profile/user.js").write_text("".join(lines))
    with open(folder / "log", "wb") as log:
        program = subprocess.Popen(
            ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote",
             "--profile", str(folder / "profile")],
            stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)}, start_new_session=True,
        )
    try:
        client = Marionette(port)
        client.ask("WebDriver:NewSession", capabilities={})
        client.ask("Marionette:SetContext", value="chrome")
        told = client.script(SCRIPT, Path(authority).read_text(), who, password)
    except BaseException:
        lines = (folder / "log").read_text(errors="replace").splitlines()
        print(*[line for line in lines if "error" in line.lower()][-40:], sep="\n")
        raise
    finally:
        # It is a script that starts the program: both are of this group.
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        shutil.rmtree(folder, ignore_errors=True)
    for way, server in servers.items():
        wanted = {"server": server, "tls": True, "password": True}
        assert told["autoconfig"][way] == wanted | {"username": "%EMAILADDRESS%"}, told
        assert told["autodiscover"][way] == wanted | {"username": who}, told
    assert told["source"] == "xml-from-isp-https" and told["username"] == who, told
    assert "for a real client" in told["subjects"], told
    print("Thunderbird: settings by autoconfig and by Autodiscover; signed in with them, a message read")
