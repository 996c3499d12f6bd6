// The operators' side of the mock: the console on a port of its own, and what administrators of a tenant ask.
// Sign in as "anna", password "understudy".  POST /mock {"state": …} changes how the appliance stands.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const DAY = 864e5;
const now = () => Date.now();
const ago = (ms) => now() - ms;
const failure = (what, advice) => ({ error: { what, do: advice } });
const done = { ok: 'done' };

/** What both ask, as in src/ops/request.rs. */
export class Operations {
  tenants = [{ id: 1, name: 'Nordwerk Wasserbau' }, { id: 2, name: 'harbourlight' }, { id: 3, name: 'acme' }];
  domains = [{ domain: 'nordwerk.example', tenant: 'Nordwerk Wasserbau' }, { domain: 'spundwand.example', tenant: 'Nordwerk Wasserbau' }, { domain: 'harbourlight.example', tenant: 'harbourlight' }];
  accounts = ['mara', 'jonas', 'einkauf', 'totp', 'leitung', 'werkstatt', 'anneliese.schmidt-wagenknecht'].map((name) => ({ address: `${name}@nordwerk.example`, tenant: 'Nordwerk Wasserbau', administrator: name === 'mara' })).concat([{ address: 'priya@harbourlight.example', tenant: 'harbourlight', administrator: true }]);
  aliases = [{ alias: 'info@nordwerk.example', account: 'mara@nordwerk.example' }, { alias: 'rechnung@nordwerk.example', account: 'einkauf@nordwerk.example' }, { alias: 'hello@harbourlight.example', account: 'priya@harbourlight.example' }];
  credentials = new Map([['jonas@nordwerk.example', [
    { id: 11, kind: 'password', label: '', created_ms: ago(90 * DAY), ends_ms: null },
    { id: 12, kind: 'app-password', label: 'iPhone von Jonas', created_ms: ago(20 * DAY), ends_ms: null },
    { id: 13, kind: 'session', label: 'Firefox, Windows', created_ms: ago(DAY), ends_ms: now() + DAY },
    { id: 14, kind: 'totp', label: '', created_ms: ago(60 * DAY), ends_ms: null }]]]);
  operators = [{ name: 'anna', created_ms: ago(200 * DAY), password: 'understudy' }, { name: 'bernd', created_ms: ago(30 * DAY), password: 'understudy' }];
  queue = [
    { id: 71, tenant: 'Nordwerk Wasserbau', from: 'mara@nordwerk.example', to: 'post@hafenbehoerde.example', size: 48_213, accepted_ms: ago(55 * 60_000), attempts: 4, next_ms: now() + 12 * 60_000, last_answer: '451 4.7.1 Greylisting in action, please come back later' },
    { id: 72, tenant: 'harbourlight', from: '', to: 'bounces@lists.example', size: 3_410, accepted_ms: ago(3 * 36e5), attempts: 7, next_ms: now() + 40 * 60_000, last_answer: 'connection to mx.lists.example timed out' }];
  groups = [
    { name: 'mail', kind: 'pair', tenant: null, addresses: ['192.0.2.10/24', '2001:db8::10/64'], interface: 'eth0', vrid: 7, state: 'Active', holder: 'here', priority: 200, since_ms: ago(DAY), claim: null, problem: null },
    { name: 'nordwerk-origin', kind: 'origin', tenant: 'Nordwerk Wasserbau', addresses: ['192.0.2.77/24'], interface: 'eth0', vrid: 42, state: 'Backup', holder: '192.0.2.77', priority: 0, since_ms: ago(3 * DAY), claim: 'idle', problem: null }];
  certificates = [
    { names: ['mail.nordwerk.example', '192.0.2.10'], source: 'acme', from_ms: ago(50 * DAY), until_ms: now() + 40 * DAY, fingerprint: '5F:2A:9C:11:7E:DE:AD:00:BE:EF:12:34:56:78:9A:BC', problem: null },
    { names: ['console'], source: 'authority', from_ms: ago(10 * DAY), until_ms: now() + 9 * DAY, fingerprint: 'AA:BB:CC:11:7E:DE:AD:00:BE:EF:12:34:56:78:9A:BC', problem: 'the certificate for console ends in 220 hours: see the log' }];
  audited = [
    { when_ms: ago(36e5), by: 'operator bernd', command: 'handover', about: '', ok: true, what: '' },
    { when_ms: ago(2 * 36e5), by: 'administrator mara@nordwerk.example', command: 'account-create', about: 'werkstatt@nordwerk.example', ok: true, what: '' },
    { when_ms: ago(5 * 36e5), by: 'root (uid 0)', command: 'domain-remove', about: 'nordwerk.example', ok: false, what: 'the domain `nordwerk.example` has accounts' }];
  roll = null;
  received = 0;
  next = 100;
  state = 'pair';
  uptime = ago(3 * DAY + 4_700_000);

  status() {
    const pair = { hostname: 'stage-a', version: '0.4.1', at: now(), uptime_s: Math.floor((now() - this.uptime) / 1000), state: 'PAIR', rpo_zero: true, role: 'primary', node: 0, epoch: 12, insync: [0, 1], committed: 48_211, applied: 48_211, durable: 48_211, lag: { records: 0 },
      paths: [{ peer: '10.0.0.2:7400', reachable: true, heard_ms_ago: 12, session: true }, { peer: '10.0.1.2:7400', reachable: true, heard_ms_ago: 9, session: false }],
      copy: null, merge: null, update: this.roll, witness: { address: 'witness.example:7402', reachable: true, round_trip_us: 900, epoch: 12, holder: 0 },
      addresses: [{ address: '192.0.2.10/24', interface: 'eth0', vrid: 7, vrrp: 'active', holder: 'here' }, { address: '2001:db8::10/64', interface: 'eth0', vrid: 7, vrrp: 'active', holder: 'here' }],
      queue_depth: this.queue.length, sessions: { smtp: 3, submission: 1, imap: 42 }, tenants: this.tenants.length,
      last_move: { at: ago(DAY), kind: 'takeover', to: 0, epoch: 12, took_ms: 612, reason: 'the primary is gone', asked_by: null }, waiting_for: null, problems: [] };
    const dead = pair.paths.map((one) => ({ ...one, reachable: false, heard_ms_ago: 94_000, session: false }));
    if (this.state === 'solo') return { ...pair, state: 'SOLO', rpo_zero: false, insync: [0], lag: null, paths: dead, problems: [{ what: 'the peer is missing: what is acknowledged now is on one disk only', runbook: 'peer-lost' }, { what: 'the witness witness.example:7402 is not reachable: the witness did not answer in time', runbook: 'witness-lost' }], witness: { ...pair.witness, reachable: false } };
    if (this.state === 'waiting') return { ...pair, state: 'RECOVERING', role: 'none', rpo_zero: false, insync: [], lag: null, paths: dead, addresses: pair.addresses.map((one) => ({ ...one, vrrp: 'initialize', holder: 'nobody' })), waiting_for: 'an operator: choose who serves, stop the other, then here: understudy pair force-solo --confirm', problems: [{ what: 'who may serve is not decided yet', runbook: 'recovering' }, { what: 'nothing is served until an operator says who serves', runbook: 'force-solo' }] };
    if (this.state === 'joining') return { ...pair, state: 'JOINING', rpo_zero: false, insync: [0], lag: { records: 1_204 }, copy: { sending: true, bytes_done: 4.2e9, bytes_total: 11e9, tenants_done: 1, tenants_total: 3, bytes_per_s: 9e7, eta_s: 76, stopped: null }, problems: [{ what: 'the copy on the peer is not complete yet', runbook: 'joining' }] };
    if (this.state === 'standby') return { ...pair, role: 'standby', node: 1 };
    if (this.state === 'alone') return { ...pair, state: 'STANDALONE', rpo_zero: false, node: null, insync: [0], lag: null, paths: [], witness: null };
    return pair;
  }

  /** `tenant` confines an administrator; `me` is who that is. */
  ask({ cmd, args = {} }, by, tenant, me) {
    const reads = /-list$|-progress$|^audit$|^pair-show$|^status$/.test(cmd);
    const reply = this.answer(cmd, args, tenant, me);
    if (!reads && reply) this.audited.unshift({ when_ms: now(), by, command: cmd, about: [args.name, args.account, args.alias, args.domain, args.tenant].filter(Boolean).join(', '), ok: !reply.error, what: reply.error?.what ?? '' });
    return reply;
  }
  answer(cmd, args, tenant, me) {
    const of = (list) => list.filter((one) => !(tenant ?? args.tenant) || one.tenant === (tenant ?? args.tenant));
    const mine = (address) => this.accounts.find((one) => one.address === address && (!tenant || one.tenant === tenant));
    const noAccount = (address) => failure(`there is no account \`${address}\``, 'understudy account list');
    const credentials = (address) => this.credentials.get(address) ?? this.credentials.set(address, [{ id: this.next++, kind: 'password', label: '', created_ms: now(), ends_ms: null }]).get(address);
    const owner = (address) => this.domains.find((one) => one.domain === address.split('@')[1] && (!tenant || one.tenant === tenant));
    if (cmd === 'status') return { ok: { status: this.status() } };
    if (cmd === 'tenant-list') return { ok: { tenants: this.tenants.map((one) => ({ ...one, domains: this.domains.filter((d) => d.tenant === one.name).length, accounts: this.accounts.filter((a) => a.tenant === one.name).length })) } };
    if (cmd === 'tenant-create') {
      if (this.tenants.some((one) => one.name === args.name)) return failure(`there is a tenant \`${args.name}\` already`, 'Choose another name.');
      this.tenants.push({ id: this.next++, name: args.name });
      return done;
    }
    if (cmd === 'domain-list') return { ok: { domains: of(this.domains) } };
    if (cmd === 'domain-add') {
      if (this.domains.some((one) => one.domain === args.domain)) return failure(`the domain \`${args.domain}\` belongs to a tenant already`, 'understudy domain list');
      this.domains.push({ domain: args.domain, tenant: args.tenant });
      return done;
    }
    if (cmd === 'domain-remove') {
      if (this.accounts.some((one) => one.address.endsWith(`@${args.name}`))) return failure(`the domain \`${args.name}\` has accounts`, 'understudy account list shows them; remove them first.');
      this.domains = this.domains.filter((one) => one.domain !== args.name);
      return done;
    }
    if (cmd === 'account-list') return { ok: { accounts: of(this.accounts) } };
    if (cmd === 'account-create') {
      const domain = owner(args.name);
      if (!domain) return failure(`there is no domain \`${args.name.split('@')[1]}\``, 'understudy domain list');
      if (this.accounts.some((one) => one.address === args.name)) return failure(`the address \`${args.name}\` is taken`, 'Choose another one.');
      this.accounts.push({ address: args.name, tenant: domain.tenant, administrator: false });
      return done;
    }
    if (cmd === 'account-remove' || cmd === 'account-administrator') {
      const one = mine(args.name ?? args.account);
      if (!one) return noAccount(args.name ?? args.account);
      if (one.address === me) return failure('this is the account that you are signed in with', 'Another administrator can do it.');
      if (cmd === 'account-remove') this.accounts = this.accounts.filter((other) => other !== one);
      else one.administrator = args.on;
      return done;
    }
    if (cmd === 'alias-list') return { ok: { aliases: this.aliases.filter((one) => of(this.accounts).some((account) => account.address === one.account)) } };
    if (cmd === 'alias-add') {
      if (!mine(args.account)) return noAccount(args.account);
      this.aliases.push({ alias: args.alias, account: args.account });
      return done;
    }
    if (cmd === 'alias-remove') { this.aliases = this.aliases.filter((one) => one.alias !== args.name); return done; }
    if (cmd.startsWith('credential-')) {
      const address = args.account ?? args.name;
      if (!mine(address)) return noAccount(address);
      const list = credentials(address);
      const keep = (test) => this.credentials.set(address, list.filter(test));
      if (cmd === 'credential-list') return { ok: { credentials: list } };
      if (cmd === 'credential-password') {
        if (args.password.length < 10) return failure('the password is too short', 'Take one of at least 10 characters.');
        keep((one) => one.kind !== 'session');
        return done;
      }
      if (cmd === 'credential-app-password') {
        const made = { id: this.next++, kind: 'app-password', label: args.label, created_ms: now(), ends_ms: null };
        list.push(made);
        return { ok: { 'app-password': { id: made.id, password: 'kuvo-7heb-wint-3rax-moli' } } };
      }
      keep((one) => (cmd === 'credential-revoke' ? one.id !== args.id : one.kind !== 'totp'));
      return done;
    }
    if (cmd === 'audit') return { ok: { audit: this.audited.filter((one) => !tenant || one.by.endsWith(me) || one.about.includes(`@${me.split('@')[1]}`)).slice(0, args.limit ?? 100) } };
    if (tenant) return null;
    if (cmd === 'queue-list') return { ok: { queue: this.queue } };
    if (cmd === 'queue-retry' || cmd === 'queue-remove') {
      const same = (one) => one.tenant === args.tenant && one.id === args.id;
      const found = this.queue.find(same);
      if (!found) return failure('there is no such message in the queue', '`understudy queue list` shows what waits.');
      if (cmd === 'queue-remove') this.queue = this.queue.filter((one) => !same(one));
      else Object.assign(found, { attempts: found.attempts + 1, next_ms: now() + 20 * 60_000 });
      return done;
    }
    if (cmd === 'address-list') return { ok: { addresses: this.groups } };
    if (cmd === 'address-claim' || cmd === 'address-release') {
      const group = this.groups.find((one) => one.name === args.name);
      if (cmd === 'address-claim' && !args.force && this.state !== 'gone') return failure('02:00:5e:00:53:01 answers for 192.0.2.77', 'Switch that machine off or cut its port, then claim again.');
      Object.assign(group, cmd === 'address-claim' ? { claim: 'held', state: 'Active', holder: 'here' } : { claim: 'idle', state: 'Backup', holder: '192.0.2.77' });
      return done;
    }
    if (cmd === 'handover') { this.state = 'standby'; return done; }
    if (cmd === 'pair-token') return { ok: { token: { token: 'usp1-4K7Q-ZT2M-9XWD-PL3C-88VE', valid_s: 1_800 } } };
    if (cmd === 'pair-show') return { ok: { pair: { pair: '3f1c9a', node: 0, pin: 'sha256:9d4e5f60718293a4b5c6d7e8f9', peer_pin: 'sha256:1122334455667788990011aabb' } } };
    if (cmd === 'pair-force-solo') { this.state = 'solo'; return done; }
    if (cmd === 'update-progress') return { ok: { update: { roll: this.roll } } };
    if (cmd === 'update-install') {
      if (args.len !== this.received) return failure(`${this.received} bytes are here, not ${args.len}`, 'Hand the update over again.');
      const steps = ['shipping', 'installing-there', 'restarting-there', 'trying-there', 'handover', 'restarting-here'];
      this.roll = { id: 'u1', version: '0.4.2', only_here: args.only_here, began: now(), state: 'under-way', step: 'shipping', bytes: [1e8, 4e8], why: null, do: null, peer_running: '0.4.1' };
      let at = 0;
      const timer = setInterval(() => {
        at += 1;
        this.roll = at < steps.length ? { ...this.roll, step: steps[at], bytes: null, peer_running: at > 2 ? '0.4.2' : '0.4.1' } : { ...this.roll, state: 'done' };
        if (at >= steps.length) clearInterval(timer);
      }, 700);
      return done;
    }
    if (cmd === 'update-rollback') return this.roll ? ((this.roll = { ...this.roll, state: 'stopped', why: 'it was called off', do: null }), done) : failure('there is no version to go back to', 'understudy update status');
    if (cmd === 'certificate-list') return { ok: { certificates: this.certificates } };
    if (cmd === 'operator-list') return { ok: { operators: this.operators.map(({ name, created_ms }) => ({ name, created_ms })) } };
    const operator = this.operators.find((one) => one.name === args.name);
    if (cmd === 'operator-add') {
      if (operator) return failure(`there is an operator \`${args.name}\` already`, 'understudy operator list');
      this.operators.push({ name: args.name, created_ms: now(), password: 'wepo-4tij-naku-9sel' });
      return { ok: { 'operator-password': { password: 'wepo-4tij-naku-9sel' } } };
    }
    if (cmd === 'operator-remove' || cmd === 'operator-password') {
      if (!operator) return failure(`there is no operator \`${args.name}\``, 'understudy operator list');
      if (cmd === 'operator-remove') this.operators = this.operators.filter((one) => one !== operator);
      else operator.password = args.password;
      this.ended?.(args.name);
      return done;
    }
    return null;
  }
}

/** The console's own listener; `files` and `read` are the webmail's. */
export function listen(port, operations, files, read) {
  const cookies = new Map();
  const streams = new Map();
  operations.ended = (name) => {
    for (const [token, who] of cookies) if (who === name) cookies.delete(token), streams.get(token)?.forEach((one) => one.end());
  };
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://mock').pathname;
    const json = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
      response.end(body === undefined ? '' : JSON.stringify(body));
    };
    const fail = (status, error) => json(status, { error, text: error });
    if (path === '/mock') {
      Object.assign(operations, JSON.parse(await read(request)));
      if (operations.cut) {
        operations.cut = false;
        for (const list of streams.values()) list.forEach((one) => one.destroy());
      }
      return json(204);
    }
    if (!path.startsWith('/api/console/')) {
      const known = path === '/' ? '/console.html' : path;
      return known === '/console.html' || known.startsWith('/assets/console/') || /^\/icon[^/]*$/.test(known) ? files(known, response) : fail(404, 'not-found');
    }
    const token = /understudy-console=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    const name = cookies.get(token);
    if (request.method !== 'GET' && request.headers['x-understudy'] !== '1') return fail(403, 'not-allowed');
    const at = `${request.method} ${path.slice('/api/console/'.length)}`;
    const me = (who) => ({ name: who, appliance: 'stage-a', version: '0.4.1', expires: new Date(now() + 12 * 36e5).toISOString() });
    if (at === 'POST session') {
      const told = JSON.parse(await read(request));
      if (told.name === 'busy') return fail(429, 'busy');
      if (!operations.operators.some((one) => one.name === told.name && one.password === told.password)) return fail(401, 'wrong');
      const fresh = randomBytes(16).toString('hex');
      cookies.set(fresh, told.name);
      return json(200, me(told.name), { 'set-cookie': `understudy-console=${fresh}; HttpOnly; SameSite=Strict; Path=/` });
    }
    if (!name) return fail(401, 'signed-out');
    if (at === 'GET session') return json(200, me(name));
    if (at === 'DELETE session') { cookies.delete(token); return json(204); }
    if (at === 'POST ask') {
      const reply = operations.ask(JSON.parse(await read(request)), `operator ${name}`, null, null);
      return reply ? json(200, reply) : fail(422, 'invalid');
    }
    if (at === 'PUT update') {
      operations.received = (await read(request, 2e9)).length;
      return json(200, { received: operations.received });
    }
    if (at === 'GET status') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      // As the appliance: what has changed, and in between a ping.
      let told = '';
      const tell = () => {
        const report = operations.status();
        const lasting = JSON.stringify({ ...report, at: 0, uptime_s: 0 });
        response.write(lasting === told ? 'event: ping\ndata: {}\n\n' : `event: status\ndata: ${JSON.stringify(report)}\n\n`);
        told = lasting;
      };
      tell();
      const timer = setInterval(tell, 1_000);
      streams.set(token, [...(streams.get(token) ?? []), response]);
      return response.on('close', () => clearInterval(timer));
    }
    return fail(404, 'not-found');
  });
  server.listen(port, '127.0.0.1', () => console.log(`console on http://127.0.0.1:${port}`));
}
