// A mailbox as it looks on the first morning: a few real conversations, and enough others to scroll.
const MIN = 60_000, HOUR = 60 * MIN, DAY = 24 * HOUR;
const now = Date.now();
export const ME = { name: 'Mara Lindner', email: 'mara@nordwerk.example' };
const p = (name, email) => ({ name, email });
const jonas = p('Jonas Weber', 'jonas.weber@nordwerk.example');
const aylin = p('Aylin Demir', 'aylin.demir@nordwerk.example');
const priya = p('Priya Raman', 'priya@harbourlight.example');
const tom = p('Tom Okafor', 'tom.okafor@harbourlight.example');
export const PEOPLE = [ME, jonas, aylin, p('Sven Kröger', 'sven.kroeger@nordwerk.example'), p('Ines Baumann', 'ines.baumann@nordwerk.example'),
  p('Lukas Hoffmann', 'lukas.hoffmann@nordwerk.example'), p('Werkstatt', 'werkstatt@nordwerk.example'), p('Buchhaltung', 'buchhaltung@nordwerk.example')];

export const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC', 'base64');
const pdf = (n) => Buffer.concat([Buffer.from('%PDF-1.4\n'), Buffer.alloc(n, 32)]);

const ARTICLE = `<div style="max-width:620px;margin:0 auto;font-family:Georgia,serif;color:#222;background:#ffffff">
<img src="https://images.example/header.png" alt="Hafenblatt" width="620" height="120">
<h1 style="font-size:26px;color:#8a2b0e;margin:18px 0 6px">Was diese Woche im Hafen geschah</h1>
<p style="line-height:1.6">Der neue Anleger ist fertig, zwei Wochen früher als gedacht. Am Freitag macht die <b>Annegret</b> als erste dort fest.</p>
<table width="100%" cellpadding="8" style="border-collapse:collapse;background:#f6efe9"><tr><td><b>Freitag</b><br>Einweihung, 15 Uhr</td><td><b>Samstag</b><br>Fischmarkt, 6 bis 12 Uhr</td></tr></table>
<p><a href="https://hafenblatt.example/woche">Alles lesen</a></p><script>alert(1)</script></div>`;

export function sample(box) {
  const mails = [];
  const thread = (subject, ...list) => {
    const ids = [];
    list.forEach((mail, index) => {
      const messageId = [`${subject.replace(/\W+/g, '').toLowerCase().slice(0, 20)}-${index}@nordwerk.example`];
      mails.push({ to: [ME], keywords: { $seen: true }, box: 'inbox', ...mail, subject: index ? `Re: ${subject}` : subject, messageId, inReplyTo: ids.length ? ids.slice(-1) : null, references: ids.length ? [...ids] : null });
      ids.push(messageId[0]);
    });
  };
  const ago = (time) => new Date(now - time).toISOString();

  thread('Angebot für die Spundwand, Abschnitt 3',
    { from: [priya], at: ago(1 * DAY + 3 * HOUR), text: 'Dear Mara,\n\nplease find our offer for section 3 attached. The steel price holds until Friday; after that the mill asks for a new quote.\n\nTwo things that I would like to settle by phone:\n- delivery by barge or by road\n- who carries the survey\n\nKind regards\nPriya Raman\nHarbourlight Ltd', files: [{ name: 'Offer section 3.pdf', type: 'application/pdf', data: pdf(184_000) }, { name: 'Section 3 plan.dwg', type: 'application/acad', data: pdf(920_000) }] },
    { from: [ME], to: [priya], cc: [jonas], at: ago(1 * DAY + 1 * HOUR), box: 'sent', text: 'Dear Priya,\n\nthank you, this looks good. By barge, if the tide table allows; Jonas looks at it today. The survey is ours.\n\nCould you send the plan as PDF, too? Our site office cannot open DWG.\n\nBest\nMara' },
    { from: [jonas], to: [ME, priya], at: ago(20 * HOUR), text: 'Moin zusammen,\n\nbarge works on the 9th and 10th, high water 07:40 and 08:25. I have asked the harbour master to keep the berth.\n\nJonas\n\n> By barge, if the tide table allows; Jonas looks at it today.\n> The survey is ours.' },
    { from: [priya], to: [ME, jonas], at: ago(26 * MIN), keywords: {}, htmlBody: `<p>Dear both,</p><p>wonderful – <b>the 9th</b> it is. Here is the plan as PDF, and the corner that we talked about:</p><p><img src="cid:corner@harbourlight" alt="Corner of section 3" width="320" height="180"></p><p>I shall call at three.</p><p>Priya</p><blockquote type="cite"><p>Moin zusammen,</p><p>barge works on the 9th and 10th, high water 07:40 and 08:25.</p></blockquote>`, text: 'Dear both, wonderful - the 9th it is. Here is the plan as PDF. I shall call at three. Priya', files: [{ name: 'Section 3 plan.pdf', type: 'application/pdf', data: pdf(412_000) }, { name: 'corner.png', type: 'image/png', data: PNG, disposition: 'inline', cid: 'corner@harbourlight' }] });

  thread('Mail läuft über den Ersatz – was ihr wissen müsst',
    { from: [p('IT Nordwerk', 'it@nordwerk.example')], at: ago(52 * MIN), keywords: { $flagged: true }, text: 'Liebe Kolleginnen und Kollegen,\n\nunser Mailanbieter ist seit 8:10 Uhr gestört. Ihr arbeitet gerade auf unserem Ersatzsystem; eure Adressen bleiben gleich, und alles, was ihr hier schreibt, kommt später in euer gewohntes Postfach.\n\nWas ihr tun müsst: nichts. Wer sein Telefon verbinden möchte, findet den Weg unter „Gerät verbinden“.\n\nFragen: Durchwahl 112.\n\nEure IT' });
  thread('Kranprüfung am Donnerstag', { from: [aylin], at: ago(2 * HOUR), keywords: {}, text: 'Hallo Mara,\n\nder Prüfer kommt am Donnerstag um 9. Bist du dabei, oder soll Sven die Unterlagen mitbringen?\n\nLG Aylin' });
  thread('Hafenblatt: Was diese Woche geschah', { from: [p('Hafenblatt', 'redaktion@hafenblatt.example')], at: ago(5 * HOUR), keywords: {}, htmlBody: ARTICLE });
  thread('Quarterly figures – draft', { from: [tom], at: ago(7 * HOUR), text: 'Hi Mara,\n\nthe draft is attached. Page 4 still needs your numbers for the northern sites.\n\nTom', files: [{ name: 'Q3 figures.xlsx', type: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', data: pdf(48_000) }] });
  thread('Vertraulich: Personalgespräch', { from: [p('Ines Baumann', 'ines.baumann@nordwerk.example')], at: ago(9 * HOUR), mixed: 'multipart/encrypted', text: '', files: [{ type: 'application/pgp-encrypted', data: Buffer.from('Version: 1') }, { name: 'encrypted.asc', type: 'application/octet-stream', data: Buffer.from('-----BEGIN PGP MESSAGE-----\n…') }] });
  thread('Rechnung 2026-1187', { from: [p('Stahlkontor Emden', 'rechnung@stahlkontor.example')], at: ago(26 * HOUR), mixed: 'multipart/signed', text: 'Guten Tag,\n\nanbei unsere Rechnung 2026-1187 über 12.480,00 EUR, zahlbar bis zum 30. des Monats.\n\nMit freundlichen Grüßen\nStahlkontor Emden', files: [{ name: 'Rechnung 2026-1187.pdf', type: 'application/pdf', data: pdf(96_000) }, { name: 'smime.p7s', type: 'application/pkcs7-signature', data: pdf(4000) }] });
  thread('Fotos von der Baustelle', { from: [jonas], at: ago(2 * DAY), text: 'Zwei Bilder von heute früh, bevor der Nebel kam.', files: [{ name: 'morgen-1.png', type: 'image/png', data: PNG }, { name: 'morgen-2.png', type: 'image/png', data: PNG }] });
  thread('Urlaub im Dezember', { from: [ME], to: [aylin], at: ago(3 * DAY), box: 'sent', text: 'Hallo Aylin,\n\nich nehme die Woche vor Weihnachten. Passt das bei euch?\n\nMara' },
    { from: [aylin], at: ago(3 * DAY - 4 * HOUR), text: 'Passt! Trage ich ein.\n\nAylin' });
  thread('Entwurf: Bericht an die Hafenbehörde', { from: [ME], to: [p('Hafenbehörde', 'post@hafenbehoerde.example')], at: ago(4 * HOUR), box: 'drafts', keywords: { $draft: true, $seen: true }, htmlBody: '<div>Sehr geehrte Damen und Herren,</div><div><br></div><div>hiermit erhalten Sie den Bericht für</div>' });
  thread('Gewinnen Sie ein Boot', { from: [p('Glück & Co.', 'win@gluecklich.example')], at: ago(11 * HOUR), box: 'junk', keywords: {}, htmlBody: '<p>Klicken Sie hier!</p>' });

  const who = [jonas, aylin, priya, tom, ...PEOPLE.slice(3)];
  const what = ['Lieferschein', 'Protokoll der Baubesprechung', 'Tide table for next week', 'Site access', 'Nachtrag 7', 'Lunch?', 'Stundenzettel', 'Minutes and actions', 'Prüfbericht', 'Parkplätze', 'Change of berth', 'Bestellung Schrauben M16'];
  for (let i = 0; i < 420; i++) {
    const from = who[(i * 7) % who.length];
    thread(`${what[(i * 5) % what.length]} ${1200 - i}`, { from: [from], at: ago(3 * DAY + i * 5.3 * HOUR), box: i % 9 === 8 ? 'archive' : 'inbox', keywords: i % 17 === 3 ? {} : { $seen: true },
      text: `Hallo Mara,\n\nkurz zur Sache (${1200 - i}): die Unterlagen liegen im Ordner, bitte bis ${['Montag', 'Mittwoch', 'Freitag'][i % 3]} ansehen.\n\n${from.name}` });
  }
  return mails.map((mail) => ({ ...mail, mailboxIds: { [box[mail.box]]: true }, receivedAt: mail.at, sentAt: mail.at }));
}
