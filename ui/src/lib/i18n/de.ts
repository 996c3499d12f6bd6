import type { en } from './en';

const plural = new Intl.PluralRules('de');
const n = (count: number, one: string, other: string): string => `${new Intl.NumberFormat('de').format(count)} ${plural.select(count) === 'one' ? one : other}`;

export const de: typeof en = {
  close: 'Schließen', cancel: 'Abbrechen', save: 'Speichern', done: 'Fertig', more: 'Mehr', name: 'Name', undo: 'Rückgängig', search: 'Suche', copy: 'Kopieren', copied: 'Kopiert', change: 'Ändern', add: 'Hinzufügen',
  loading: 'Lädt…', oneMoment: 'Einen Moment…', skip: 'Zur Mail springen', size: 'Größe', date: 'Datum', me: 'ich',
  didNotWork: 'Das hat nicht geklappt. Es ist alles wie vorher.', broken: 'Die Anwendung konnte nicht starten.', tryAgain: 'Noch einmal',
  reconnecting: 'Verbindet neu… Sie können weiterarbeiten',
  notice: 'Was gerade los ist', hideNotice: 'Hinweis ausblenden', since: (when) => `Seit ${when}.`,

  signIn: 'Anmelden', signInHint: 'Mit Ihrer gewohnten Adresse.', signInAgain: 'Bitte neu anmelden', signInAgainHint: 'Ihre Sitzung ist zu Ende. Was Sie gerade schreiben, ist noch da.',
  address: 'Adresse', password: 'Passwort', code: 'Code', codeHint: 'Die sechs Ziffern, die Ihre Authenticator-App jetzt zeigt.',
  ownDevice: 'Das ist mein eigenes Gerät', ownDeviceHint: '30 Tage angemeldet bleiben. Sonst 12 Stunden.', otherAccount: 'Anderes Konto verwenden',
  wrongPassword: 'Adresse oder Passwort stimmt nicht.', wrongCode: 'Der Code stimmt nicht oder ist zu alt. Nehmen Sie den, der jetzt angezeigt wird.', busy: 'Gerade melden sich viele an. Bitte versuchen Sie es in ein paar Sekunden noch einmal.',
  notHere: 'Der Server wird gerade übernommen und antwortet gleich wieder. Bitte noch einmal versuchen.', signInFailed: 'Die Anmeldung hat nicht geklappt. Bitte noch einmal versuchen.', forgotPassword: 'Kein Passwort? Ihre IT hat es.',

  folders: 'Ordner', ownFolders: 'Meine Ordner', role_inbox: 'Posteingang', role_drafts: 'Entwürfe', role_sent: 'Gesendet', role_archive: 'Archiv', role_junk: 'Spam', role_trash: 'Papierkorb',
  newFolder: 'Neuer Ordner', newSubfolder: 'Neuer Ordner darin', rename: 'Umbenennen', move: 'Verschieben', deleteIt: 'Löschen', empty: 'Leeren', topLevel: 'Ganz oben', findFolder: 'Ordner suchen',
  folderMenu: (folder) => `Aktionen für ${folder}`, moveFolder: (folder) => `„${folder}“ verschieben nach`, folderExists: 'Einen Ordner mit diesem Namen gibt es schon.', folderNotDeleted: 'Der Ordner konnte nicht gelöscht werden.',
  deleteFolder: (folder, count) => `Den Ordner „${folder}“ mit ${n(count, 'Nachricht', 'Nachrichten')} endgültig löschen?`, emptyForGood: (folder) => `Alles in „${folder}“ endgültig löschen?`,
  importEml: 'Nachrichten hochladen (.eml)', imported: (count, folder) => `${n(count, 'Nachricht', 'Nachrichten')} nach ${folder} gelegt.`, importFailed: (count) => `${n(count, 'Datei war', 'Dateien waren')} keine Nachricht.`,
  storage: 'Speicherplatz', quota: (used, all) => `${used} von ${all} belegt`, unreadCount: (count) => `${count} ungelesen`, draftsCount: (count) => n(count, 'Entwurf', 'Entwürfe'),

  select: 'Auswählen', selectAll: 'Alle', selectOne: 'Auswählen', selected: (count) => `${count} ausgewählt`, clearSelection: 'Auswahl aufheben', found: (count) => `${new Intl.NumberFormat('de').format(count)} gefunden`,
  nothingFound: 'Nichts gefunden. Versuchen Sie es mit weniger Wörtern.', inboxEmpty: 'Hier ist nichts. Neue Mail erscheint von selbst.', folderEmpty: 'Dieser Ordner ist leer.',
  unread: 'ungelesen', draft: 'Entwurf', answered: 'beantwortet', hasAttachment: 'mit Anhang', noSubject: '(kein Betreff)', noSender: '(kein Absender)', toWhom: (names) => `an ${names}`,
  messages: (count) => n(count, 'Nachricht', 'Nachrichten'), newMail: (count) => n(count, 'neue Nachricht', 'neue Nachrichten'),
  readOrUnread: 'Gelesen oder ungelesen', markUnread: 'Als ungelesen markieren', star: 'Stern', archive: 'Archivieren', junk: 'Spam', notJunk: 'Kein Spam',
  moved: (count, folder) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} nach ${folder} verschoben.`, moveTitle: (count) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} verschieben nach`,
  archived: (count) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} archiviert.`, trashed: (count) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} in den Papierkorb gelegt.`, junked: (count) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} zum Spam gelegt.`,
  deleted: (count) => `${n(count, 'Unterhaltung', 'Unterhaltungen')} gelöscht.`, deleteForGood: (count) => `${n(count, 'Nachricht', 'Nachrichten')} endgültig löschen?`,

  searchMail: 'Mail durchsuchen', clearSearch: 'Suche leeren',
  op_from: 'von:', op_from_hint: 'wer es schrieb', op_to: 'an:', op_to_hint: 'wer es bekam', op_subject: 'betreff:', op_subject_hint: 'Wörter des Betreffs', op_attachment: 'hat:anhang', op_attachment_hint: 'mit Dateien',
  op_unread: 'ist:ungelesen', op_unread_hint: 'noch nicht gelesen', op_flagged: 'ist:markiert', op_flagged_hint: 'mit Stern', op_after: 'nach:', op_after_hint: '1.11.2026 oder 7t (vor 7 Tagen)', op_before: 'vor:', op_before_hint: 'ebenfalls ein Datum', op_in: 'in:', op_in_hint: 'ein Ordner',

  reading: 'Unterhaltung', conversation: 'Nachrichten der Unterhaltung', chooseOne: 'Wählen Sie eine Unterhaltung', backToList: 'Zurück zur Liste', previous: 'Vorige Unterhaltung', next: 'Nächste Unterhaltung',
  messageFrom: (who) => `Nachricht von ${who}`, moreFor: (who) => `Mehr zur Nachricht von ${who}`, print: 'Drucken', source: 'Quelltext', saveEml: 'Als .eml speichern', details: 'Details', editDraft: 'Weiterschreiben', addContact: 'Zu den Kontakten', contactAdded: 'Zu Ihren Kontakten hinzugefügt.',
  from: 'Von', to: 'An', cc: 'Cc', bcc: 'Bcc', replyTo: 'Antwort an', subject: 'Betreff', received: 'Empfangen', attachments: 'Anhänge', unnamed: 'ohne Namen', preview: (file) => `${file} ansehen`, downloadIt: 'Herunterladen', download: (file, size) => `${file} herunterladen, ${size}`,
  imagesBlocked: 'Bilder von anderswo werden nicht geladen: Ihr Absender erführe, dass Sie das lesen.', showOnce: 'Jetzt zeigen', showAlways: (who) => `Immer von ${who}`,
  signedNotChecked: 'Diese Nachricht ist signiert; die Signatur wird hier nicht geprüft.', encryptedNotRead: 'Diese Nachricht ist verschlüsselt und kann hier nicht gelesen werden. Speichern Sie sie als .eml und öffnen Sie sie in Ihrem Mailprogramm.',
  reply: 'Antworten', replyAll: 'Allen antworten', forward: 'Weiterleiten', wrote: (when, who) => `Am ${when} schrieb ${who}:`, forwarded: 'Weitergeleitete Nachricht',

  write: 'Schreiben', newMessage: 'Neue Nachricht', message: 'Nachricht', ccBcc: 'Cc, Bcc', send: 'Senden', sendHint: 'Senden (Strg+Eingabe)', sendLater: 'Später senden', when: 'Wann', chooseTime: 'Zeit wählen…',
  tomorrowMorning: 'Morgen früh', tomorrowAfternoon: 'Morgen Nachmittag', mondayMorning: 'Montag früh', attach: 'Dateien anhängen', discard: 'Verwerfen', discardDraft: 'Diesen Entwurf verwerfen?', minimise: 'Minimieren', larger: 'Größer', smaller: 'Kleiner', saveAndClose: 'Speichern und schließen',
  saving: 'Speichert…', savedAt: (time) => `Gespeichert ${time}`, notSaved: 'Noch nicht gespeichert', keptHere: 'Auf diesem Gerät gesichert', sendingNow: 'Sendet…', sending: 'Wird gesendet…', sent: 'Gesendet.', unsent: 'Nicht gesendet. Es ist wieder ein Entwurf.', alreadySent: 'Zu spät: Es ist schon gesendet.', willBeSent: (when) => `Wird gesendet: ${when}.`,
  noRecipients: 'Für wen ist es? Bitte eine Adresse angeben.', badRecipients: (list) => `Keine Adresse: ${list}`, stillUploading: 'Dateien sind noch unterwegs. Einen Moment.', sendWithoutSubject: 'Ohne Betreff senden?', forgotAttachment: 'Sie schreiben von einem Anhang, aber es ist keiner da. Trotzdem senden?',
  notSent: 'Es konnte nicht gesendet werden und bleibt als Entwurf.', mailTooLarge: 'Die Nachricht ist zu groß. Bitte nehmen Sie Dateien heraus.', fileTooLarge: (file) => `${file} ist zu groß.`, fileFailed: (file) => `${file} konnte nicht hochgeladen werden.`, filesGone: 'Einige Dateien wurden vor zu langer Zeit hochgeladen. Bitte hängen Sie sie noch einmal an.',
  uploading: (file) => `${file} wird hochgeladen`, removeFile: (file) => `${file} entfernen`, removeAddress: (who) => `${who} entfernen`, suggestions: 'Vorschläge', dropHere: 'Dateien hier ablegen',
  quoted: 'Ursprüngliche Nachricht', editQuote: 'Bearbeiten', leaveOut: 'Weglassen', formatting: 'Formatierung', bold: 'Fett', italic: 'Kursiv', underline: 'Unterstrichen', strike: 'Durchgestrichen', bullets: 'Liste', numbers: 'Nummerierte Liste', quoteText: 'Zitat', link: 'Link', linkTarget: 'Wohin', insert: 'Einfügen', insertImage: 'Bild im Text', clearFormat: 'Formatierung entfernen',
  scheduled: 'Geplant', nothingScheduled: 'Nichts wartet. Was Sie „später senden“, steht hier.', cancelSending: 'Nicht senden', sendsOn: (when) => `geht hinaus ${when}`,

  contacts: 'Kontakte', newContact: 'Neuer Kontakt', newGroup: 'Neue Gruppe', searchContacts: 'Kontakte durchsuchen', noContacts: 'Noch keine Kontakte. Kolleginnen und Kollegen werden auch ohne Eintrag gefunden.', chooseContact: 'Wählen Sie einen Kontakt', email: 'E-Mail', phone: 'Telefon', company: 'Firma', notes: 'Notizen', members: 'Mitglieder', anotherEmail: 'Weitere E-Mail', anotherPhone: 'Weiteres Telefon', group: 'Gruppe',
  edit: 'Bearbeiten', deleteContact: (who) => `${who} aus Ihren Kontakten löschen?`, writeTo: (who) => `${who} schreiben`,

  admin: 'Verwaltung', settings: 'Einstellungen', appearance: 'Aussehen', language: 'Sprache', languageAuto: 'Wie der Browser', theme: 'Farben', themeAuto: 'Wie das Gerät', themeLight: 'Hell', themeDark: 'Dunkel', density: 'Liste', densityNormal: 'Luftig, mit Vorschau', densityCompact: 'Dicht',
  writing: 'Schreiben', undoTime: 'Zeit, das Senden zurückzunehmen', seconds: (count) => (count ? n(count, 'Sekunde', 'Sekunden') : 'Keine'), signatures: 'Signaturen', signature: 'Signatur', signatureFor: (who) => `Für ${who}`, signatureDefault: 'Unter neue Nachrichten und Antworten setzen', yourName: 'Ihr Name', saved: 'Gespeichert.',
  readingMail: 'Lesen', remoteImages: 'Bilder von anderswo', remoteAsk: 'Jedes Mal fragen', remoteAlways: 'Immer zeigen', trusted: 'Immer gezeigt von', nobody: 'Noch niemand.', remove: 'Entfernen', shortcutsOn: 'Tastenkürzel mit einer Taste',
  vacation: 'Abwesenheit', vacationOn: 'Automatisch antworten', vacationFrom: 'Von', vacationTo: 'Bis', vacationSubject: 'Betreff', vacationText: 'Antwort', vacationHint: 'Jeder Absender bekommt sie nur ab und zu, eine Mailingliste nie.', vacationActive: 'Automatische Antworten sind an.',
  security: 'Sicherheit', oldPassword: 'Passwort jetzt', newPassword: 'Neues Passwort', newAgain: 'Neues Passwort noch einmal', changePassword: 'Passwort ändern', passwordHint: 'Mindestens 10 Zeichen. Alle anderen Sitzungen enden.', passwordChanged: 'Das Passwort ist geändert. Alle anderen Sitzungen sind beendet.', passwordsDiffer: 'Die beiden sind nicht gleich.', passwordWeak: 'Dieses Passwort ist zu kurz oder zu leicht.', wrongOld: 'Das ist nicht Ihr Passwort.',
  totp: 'Zweiter Faktor', totpOff: 'Zum Anmelden genügt Ihr Passwort.', totpOn: 'Zum Anmelden gehört auch ein Code Ihrer Authenticator-App.', totpStart: 'Einrichten', totpStop: 'Ausschalten', totpScan: 'Scannen Sie das mit Ihrer Authenticator-App und geben Sie dann den Code ein, den sie zeigt.', totpSecret: 'Oder geben Sie diesen Schlüssel ein:', confirm: 'Bestätigen',
  sessions: 'Sitzungen', thisOne: 'diese hier', lastUsed: (when) => `zuletzt benutzt ${when}`, ownDeviceShort: 'eigenes Gerät', endSession: 'Beenden', signOut: 'Abmelden', sessionsHint: 'Wo Sie angemeldet sind. Beenden Sie, was Sie nicht kennen.',
  devices: 'Geräte', devicesHint: 'Jedes verbundene Gerät hat ein eigenes Passwort, das Sie hier zurücknehmen können.', noDevices: 'Kein Gerät ist verbunden.', expires: (when) => `bis ${when}`, createdOn: (when) => `verbunden ${when}`, revoke: 'Trennen', revokeDevice: (name) => `„${name}“ trennen? Es kann dann keine Mail mehr holen oder senden.`, signedInAs: (who) => `Angemeldet als ${who}`,

  connect: 'Gerät verbinden', connectHint: 'Mail auf Ihrem Telefon oder in Ihrem Mailprogramm, in etwa zwei Minuten. Jedes Gerät bekommt ein eigenes Passwort.', deviceName: 'Wie nennen Sie es?', createPassword: 'Passwort dafür erstellen', devicePassword: 'Passwort für dieses Gerät', shownOnce: 'Es wird nur jetzt gezeigt. Merken muss es sich niemand.',
  apple: 'iPhone, iPad, Mac', appleDo: 'Profil laden', appleSteps: 'Laden Sie das Profil auf dem Gerät selbst und installieren Sie es dann: auf iPhone und iPad in den Einstellungen unter „Profil geladen“, auf dem Mac in den Systemeinstellungen unter „Geräteverwaltung“.', android: 'Android', androidSteps: 'Fügen Sie in Ihrer Mail-App (Gmail, Samsung E-Mail, Thunderbird, FairEmail …) ein Konto der Art „Andere“ oder „IMAP“ hinzu und tragen Sie diese Felder ein.',
  thunderbird: 'Thunderbird', thunderbirdSteps: 'Neues Konto, Ihr Name, Ihre Adresse und das Passwort von unten. Findet es den Rest nicht selbst, wählen Sie „Manuell einrichten“ und tragen Sie diese Felder ein.', outlook: 'Outlook (klassisch)', outlookSteps: 'Datei, Konto hinzufügen, „Ich möchte mein Konto manuell einrichten“, IMAP. Tragen Sie diese Felder ein.',
  outlookWarning: 'Das neue Outlook und Outlook auf Telefonen verbinden sich nicht unmittelbar mit diesem Server: Sie geben Ihr Passwort an die Cloud von Microsoft, die dann Ihre Mail abholt. Ist gerade diese Cloud gestört, können sie nicht arbeiten. Bitte nehmen Sie solange eine andere App.', certificateHint: 'Warnt das Gerät vor einem unbekannten Zertifikat, vergleichen Sie es erst mit dem, was Ihre IT sagt.',
  incoming: 'Eingang (IMAP)', outgoing: 'Ausgang (SMTP)', server: 'Server', port: 'Port', encryption: 'Verschlüsselung', userName: 'Benutzername', securityName: (kind) => (kind === 'starttls' ? 'STARTTLS' : 'SSL/TLS'), qr: 'Fürs Telefon: scannen, um diese Seite dort zu öffnen', qrAlt: 'QR-Code mit der Adresse dieser Seite',

  shortcuts: 'Tastenkürzel', k_list: 'In der Liste', k_go: 'Gehe zu', k_write: 'Schreiben', k_move: 'nächste, vorige', k_open: 'öffnen', k_select: 'auswählen', k_range: 'weiter auswählen', k_back: 'zurück, aufheben', k_archive: 'archivieren', k_delete: 'löschen', k_unread: 'gelesen, ungelesen', k_star: 'Stern', k_junk: 'Spam', k_folder: 'in einen Ordner', k_new: 'schreiben', k_reply: 'antworten, allen', k_forward: 'weiterleiten', k_send: 'senden', k_search: 'suchen', k_undo: 'rückgängig', k_help: 'diese Hilfe', k_close: 'speichern und schließen',
};
