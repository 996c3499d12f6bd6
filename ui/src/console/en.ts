// English, and thereby the list of the console's own texts; what it shares with the webmail's administration is in src/admin/.
const plural = new Intl.PluralRules('en');
const n = (count: number, one: string, other: string): string => `${new Intl.NumberFormat('en').format(count)} ${plural.select(count) === 'one' ? one : other}`;

export const en = {
  signOut: 'Sign out', console: 'Console', skip: 'Skip to the page', menu: 'Menu', pages: 'Pages',
  status: 'Status', pair: 'Pair', update: 'Update', tenants: 'Tenants', queue: 'Queue', certificates: 'Certificates', operators: 'Operators', audit: 'Audit log',

  // Sign-in
  signIn: 'Sign in to the console', signInHint: 'For those who run the appliances.', operator: 'Operator', wrong: 'Name or password is wrong.', signedInAs: (who: string) => `Signed in as ${who}`, otherLanguage: 'Deutsch', theme: 'Colours', themeLight: 'Light', themeDark: 'Dark',
  noOperators: 'No name yet? On the appliance: understudy operator add NAME', wasSignedOut: 'You have been signed out: 30 minutes unused, 12 hours over, or this appliance has started anew.',

  // The line
  cut: (when: string) => `No connection to the appliance. What you see is of ${when}. Trying again every second.`, cutNothing: 'No connection to the appliance. Trying again every second.', live: 'Live', asOf: (when: string) => `as of ${when}`,

  // How it stands
  good: 'All is well', warn: 'Look here', bad: 'Act now',
  goodPair: 'Mail is served, and everything is on both appliances. One may fail.', goodStandalone: 'Mail is served. There is one appliance only, as configured.',
  warnProblems: 'Mail is served, but something wants your attention.', warnSolo: 'Mail is served by one appliance. What comes now is on one disk only.', warnJoining: 'Mail is served. The second copy is being completed.',
  badBranched: 'Both appliances went on alone. What they did is to be merged.', badRecovering: 'Mail is not served yet: who may serve is being found out.', badWaiting: 'Mail is not served. Somebody has to say who serves.', badDisk: 'A disk has failed on this appliance.',
  problems: 'What is wrong', first: 'First', runbook: 'Runbook', openRunbook: (name: string) => `Open runbook ${name}`, runbookGone: 'There is no runbook of this name in this version.', waitingFor: 'It waits for', answerIt: 'To the answer',
  thisOne: 'this one', other: 'Other appliance', node: (node: number) => `Node ${node}`, role: 'Role', primary: 'Primary', standby: 'Standby', noRole: 'No role yet', missing: 'Missing', joiningRole: 'Joining', unknownRole: 'Not known', roleHint_primary: 'serves', roleHint_standby: 'ready to take over', roleHint_none: '', roleHint_missing: 'nothing is heard of it', roleHint_joining: 'completes its copy', roleHint_unknown: '',
  version: 'Version', running: 'Running for', address: 'Address', ago: (time: string) => `${time} ago`, never: 'never', inSync: 'In sync', yes: 'yes', no: 'no', reachable: 'reachable', silent: 'silent', carriesLog: 'carries the log', path: 'Path',
  replication: 'Replication', rpoYes: 'Losing one appliance loses nothing', rpoNo: 'A second copy is missing', rpoAlone: 'One appliance, one copy', lag: 'Behind', records: (count: number) => n(count, 'record', 'records'), lagUnknown: 'not known', epoch: 'Epoch', log: 'Log', logPositions: (committed: number, durable: number) => `committed ${committed}, on disk ${durable}`,
  copy: 'Full copy', copySending: 'to the other', copyReceiving: 'from the other', copyTenants: (done: number, total: number) => `${done} of ${total} tenants`, left: (time: string) => `${time} left`, merge: 'Merge', mergeRecords: (done: number, total: number) => `${done} of ${total} records`, stopped: 'stands still', percent: (count: number) => `${count} %`,
  addresses: 'Addresses', noAddresses: 'No floating addresses.', here: 'here', at: (who: string) => `at ${who}`, nobody: 'with nobody',
  traffic: 'Mail', waiting: 'Wait for delivery', messages: (count: number) => n(count, 'message', 'messages'), sessions: 'Connections now', sessionsText: (smtp: number, submission: number, imap: number) => `${smtp} SMTP · ${submission} submission · ${imap} IMAP`,
  disk: 'Disk', diskGood: 'No fault reported', diskBad: 'Fault reported: see above', witness: 'Witness', noWitness: 'None is configured.', lastMove: 'Last move', noMove: 'None yet.', takeover: 'Takeover', handover: 'Handover', moveTo: (node: number) => `to node ${node}`, took: (ms: number) => `${ms} ms`,
  noUpdate: 'None under way',

  // Pair
  handoverHint: 'Moves the primary role to the other appliance, planned and without loss. For maintenance of this one.', handoverDo: 'Hand over', handoverNot: 'Possible when the two are a pair and this one is primary.', handoverNotPrimary: 'This one is not primary. Open the console of the other appliance for that.',
  handover1: 'This appliance stops taking connections and lets the other catch up.', handover2: 'The other appliance takes the addresses and serves.', handover3: 'Mail programs connect again by themselves, within seconds. No mail is lost.', handoverDone: 'Handed over.',
  join: 'Let an appliance join', joinHint: 'A new or replaced second appliance joins with a token. A token works once.', tokenDo: 'Make a token', tokenText: 'Who has it can join this pair.', tokenLabel: 'Token', tokenIs: (minutes: number) => `Good for ${n(minutes, 'minute', 'minutes')}. Put it into the other appliance’s site file, or give it to “understudy pair join” there:`,
  facts: 'For a witness', factsHint: 'A witness’s configuration wants these.', pairId: 'Pair', pin: 'Pin of this node', peerPin: 'Pin of the other', noPeer: 'nobody has joined yet',
  groups: 'Floating addresses', origins: 'Addresses of origins', originsHint: 'The address of a mail server that this pair stands in for. Take it only when that server is gone.', noOrigins: 'No origin is configured.', claim: 'Take over', release: 'Give back', claimTitle: (name: string) => `Take over the addresses of “${name}”`, claimText: (addresses: string) => `This pair answers for ${addresses} from then on: mail to the origin’s address arrives here. If the origin still runs, it is refused.`, claimForce: 'Take them although somebody answers for them', claimForceHint: 'Two machines with one address disturb each other. Only when you know that the other one is wrong.',
  releaseTitle: (name: string) => `Give the addresses of “${name}” back`, releaseText: (addresses: string) => `This pair no longer answers for ${addresses}. Until the origin does, nobody does.`, claimState: (claim: string) => ({ idle: 'not taken', asked: 'asked for', probing: 'looking whether the origin answers', refused: 'refused: somebody answers', held: 'taken over' })[claim] ?? claim, ofTenant: (tenant: string) => `for ${tenant}`,
  solo: 'Go on alone', soloHint: 'Only when the status waits for it: this appliance cannot know whether the other one still serves. Go to the other machine first and see that it is off.', soloDo: 'Let this one serve alone', soloTitle: 'Let this appliance serve alone', soloTyped: 'the other is off', solo1: 'This appliance serves at once, without a second copy.', solo2: 'If the other one still runs, both serve: what they do has to be merged later.', solo3: 'It is kept who said so.', soloDone: 'This appliance has your word.', soloNotAsked: 'Nothing waits for this now.',

  // Update
  updateRuns: (version: string) => `Version ${version} runs here.`, updateChoose: 'Update file', updateChooseHint: 'The file that came with the release. It is signed: what is not of the makers is refused.', upload: 'Upload', uploading: (file: string) => `Uploading ${file}`, uploadOf: (done: string, all: string) => `${done} of ${all}`, uploaded: (file: string, size: string) => `${file} is here, ${size}. Nothing has been changed yet.`, uploadStop: 'Stop', uploadFailed: 'The file did not arrive.', uploadFailedDo: 'Look at the connection and upload it again.', uploadTooLarge: 'The file is too large for an update.', uploadTooLargeDo: 'Choose the file that came with the release.',
  whatHappens: 'What will happen', where: 'Where', both: 'Both appliances', bothHint: 'One after the other, without a missed mail.', onlyHere: 'Only this appliance', onlyHereHint: 'For a single appliance, or to put one of a pair right.', restart: 'Restart at once', restartHint: 'Otherwise it runs from the next start on.', special: 'Special cases', downgrade: 'Even if it is older than what runs', againAnyway: 'Even if it failed here before',
  step1: 'The file is checked: signature, version, whether it fits.', step2: 'The appliance that does not serve gets it first: it is written there beside what runs, and that one restarts.', step3: 'It is tried there: if that one is not healthy it goes back by itself, and the one that serves was never touched.', step4: 'The primary role moves to the updated appliance. Mail programs connect again by themselves.', step5: 'The other one is updated the same way. When this appliance restarts, the page comes back by itself; you sign in again.', here2: 'It is written here beside what runs.', here3: 'This appliance restarts; mail is not served by it meanwhile. This page comes back by itself; you sign in again.', here3not: 'Nothing else happens until the next restart.', here4: 'It is tried: if it is not healthy it goes back by itself.',
  install: 'Install', installTitle: 'Install the update', installStarted: 'The update is under way.', otherFile: 'Another file', updateNow: 'The last update', noRoll: 'No update has been asked for since this appliance started.', rollState: (state: string) => ({ 'under-way': 'under way', done: 'done', stopped: 'stopped' })[state] ?? state, rollStopped: 'Stopped because', peerRuns: (version: string) => `The other appliance runs ${version}.`, began: (when: string) => `Begun ${when}.`, mailGoesOn: 'Mail is served meanwhile.',
  rollStep: (step: string) => ({ waiting: 'Waits until the two are a pair', shipping: 'Goes to the other appliance', 'installing-here': 'Is written here', 'installing-there': 'Is written on the other appliance', 'restarting-here': 'This appliance restarts', 'restarting-there': 'The other appliance restarts', 'trying-here': 'Is tried here', 'trying-there': 'Is tried on the other appliance', handover: 'Handover' })[step] ?? step,
  back: 'Way back', backHint: 'Back to the version before on this appliance, or call off an update that is under way or waits for its restart.', backDo: 'Go back', backTitle: 'Go back to the version before', back1: 'An update that is under way or waits is called off.', back2: 'Otherwise the version before is started on this appliance; mail and settings stay as they are.', backRestart: 'Restart at once', backStarted: 'It goes back.',

  // Tenants
  newTenant: 'New tenant', tenantName: 'Name', tenantHint: 'An organisation with domains, people and administrators of its own. Its name cannot be changed later.', createTenant: 'Create', noTenants: 'No tenants yet. Make the first one.', tenantCounts: (domains: number, accounts: number) => `${n(domains, 'domain', 'domains')} · ${n(accounts, 'person', 'people')}`, allTenants: 'All tenants', tenantFiles: 'Moving a whole tenant (export, import) is done on the command line: understudy tenant export, understudy tenant import.',

  // Queue
  queueHint: 'Messages that wait for delivery to others. They are tried again by themselves for days.', queueRetry: 'Try now', queueRemove: 'Take out', queueRemoveTitle: 'Take this message out of the queue', queueRemoveText: 'It will not be delivered to anybody who has not got it yet, and cannot be brought back. Its sender is not told.', queueEmpty: 'Nothing waits. All mail to others has been delivered.', bounce: 'a bounce', fromTo: (from: string, to: string) => `${from} → ${to}`, acceptedAt: (when: string) => `accepted ${when}`, attempts: (count: number) => n(count, 'attempt', 'attempts'), nextAt: (when: string) => `next ${when}`, lastAnswer: 'Last answer', noAnswer: 'not tried yet',

  // Certificates
  certificatesHint: 'What this appliance shows to mail programs and browsers. They are renewed by themselves.', source: (source: string) => ({ authority: 'the pair’s own authority', own: 'your own, from the configuration', acme: 'a public authority (ACME)' })[source] ?? source, valid: (from: string, until: string) => `${from} to ${until}`, daysLeft: (count: number) => (count < 0 ? 'expired' : `${n(count, 'day', 'days')} left`), fingerprint: 'Fingerprint', noCertificates: 'No certificates.', validity: 'Valid', from: 'From',

  // Operators
  operatorsHint: 'Those who may use this console, on both appliances.', newOperator: 'New operator', operatorName: 'Name', operatorNameHint: 'Small letters, digits, dot, dash, underscore; at most 32.', operatorMade: (name: string) => `${name} is ready. This is the password to hand over:`, operatorSince: (when: string) => `since ${when}`, you: 'you', newPassword: 'New password', newPasswordFor: (name: string) => `New password for ${name}`, passwordText: 'All sessions of this operator end at once.', passwordIs: (name: string) => `The new password of ${name}:`, removeOperator: 'Remove', removeTitle: (name: string) => `Remove ${name}`, removeText: (name: string) => `${name} is signed out at once, on both appliances, and can no longer sign in. What ${name} did stays in the audit log.`, ownPassword: 'Your own sessions end, too: you sign in again with the new password.', create: 'Create', setIt: 'Set it', noOperatorsYet: 'No operators.',

  // What to do first, by runbook
  first_any: 'Open the runbook: it says how to make sure and what to do.',
  first_peer_lost: 'Is the other machine on? Then its network: each path has a cable and a switch port. Here nothing needs to be done.',
  first_joining: 'Wait: the records behind get fewer. If they do not, look at the paths to the other appliance.',
  first_recovering: 'Wait a minute: it is usually over by then. If not, look whether the other appliance runs.',
  first_branched: 'Leave the one running that serves. Once the two see each other, they merge by themselves.',
  first_force_solo: 'Go to the other machine and see that it is off. Then: Pair, “Go on alone”.',
  first_pair_full_copy: 'Look at the disk space and the paths of both. The copy goes on by itself once the reason is gone.',
  first_update: 'Mail is served. Mend what the reason says, then install the same file again.',
  first_witness: 'Is the witness on, and can it be reached? Mail is served without it.',
  first_certificate: 'From outside, ports 80 and 443 of the name must lead here. It is tried again by itself.',
  first_pair_certificate: 'Nothing at once: the link goes on. Plan a restart of both, one after the other.',
  first_address: 'Look at the interface’s cable and switch port, and whether its name in the configuration is right.',
  first_vrrp_conflict: 'Somebody else in this network uses the same number or address. Find that machine by the address named.',
  first_origin: 'Is the origin really gone? Then take its addresses: Pair.',
  first_listener: 'The system is out of files or memory. Hand over to the other appliance, then restart this one.',
  first_disk: 'Do not start it again on this disk. The other appliance serves: replace the disk, then let this one join anew.',
  first_disk_full: 'Free space or put in a larger disk. Mail is refused politely until then, and senders try again.',
  first_refused: 'The two do not know each other. If one was replaced: make a token here (Pair) and let it join.',
  first_config: 'Make the two configurations equal in what is named, then restart both, one after the other.',
  first_clock: 'Set the clock, or make its time server reachable.',
};
