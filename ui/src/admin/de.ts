import type { en } from './en';

const plural = new Intl.PluralRules('de');
const n = (count: number, one: string, other: string): string => `${new Intl.NumberFormat('de').format(count)} ${plural.select(count) === 'one' ? one : other}`;

export const de: typeof en = {
  failed: 'Das wurde nicht ausgeführt', whatToDo: 'Was jetzt hilft', failedOffline: 'Das Gerät hat nicht geantwortet.', failedOfflineDo: 'Nachsehen, ob es ausgeführt wurde, bevor Sie es noch einmal versuchen.', failedBusy: 'Gerade sind es zu viele Anfragen.', failedBusyDo: 'Ein paar Sekunden warten und noch einmal versuchen.',
  failedSignedOut: 'Ihre Sitzung ist zu Ende.', failedSignedOutDo: 'Neu anmelden, dann noch einmal versuchen.', failedNotAllowed: 'Das dürfen Sie nicht.', failedNotAllowedDo: 'Fragen Sie, wer die Geräte betreibt.', failedUnknown: 'Das Gerät versteht diese Anfrage nicht.', failedUnknownDo: 'Vielleicht hat es eine andere Version als diese Seite: Seite neu laden.',
  again: 'Noch einmal', refresh: 'Aktualisieren', nothingFits: 'Nichts passt zu diesen Worten.', filter: 'Filtern', typeToGoOn: (words) => `Zum Fortfahren „${words}“ eingeben`,
  shownOnce: 'Nur jetzt zu sehen. Kopieren Sie es, bevor Sie schließen.', madePassword: 'Passwort', andMore: (count) => `und ${n(count, 'weiterer Eintrag', 'weitere')}: mit dem Filter eingrenzen`,

  people: 'Personen', aliases: 'Aliasse', domains: 'Domains', audit: 'Protokoll', sections: 'Bereiche',

  peopleCount: (count) => n(count, 'Person', 'Personen'), findPerson: 'Person suchen', newPerson: 'Neue Person', noPeople: 'Noch niemand. Legen Sie die erste Person an.', administrator: 'Verwaltung', you: 'Sie', addressPart: 'Adresse', domain: 'Domain',
  passwordHow: 'Passwort', passwordMake: 'Eines erzeugen', passwordMakeHint: 'Es wird einmal gezeigt, zum Weitergeben.', passwordSet: 'Selbst festlegen', passwordField: 'Passwort', passwordLength: 'Mindestens 10 Zeichen.', createPerson: 'Anlegen',
  createdPerson: (who) => `${who} ist angelegt. Dieses Passwort geben Sie weiter:`, createdNoPassword: (who) => `${who} ist angelegt, hat aber noch kein Passwort. Öffnen Sie die Person und setzen Sie eines.`, noDomains: 'Es gibt noch keine Domain. Eine Adresse braucht eine.',

  backToPeople: 'Alle Personen', password: 'Passwort', passwordNow: 'Ein neues Passwort beendet alle Sitzungen dieser Person im Web. App-Passwörter gelten weiter.', setPassword: 'Neues Passwort setzen', newPasswordFor: (who) => `Neues Passwort für ${who}`, passwordIsSet: (who) => `Das neue Passwort von ${who}:`, setIt: 'Setzen',
  administratorOff: 'Nutzt Mail und verwaltet nichts.', administratorOn: 'Verwaltet Personen, Aliasse und Passwörter dieser Organisation.', makeAdministrator: 'Verwaltung geben', makeAdministratorText: (who) => `${who} sieht dann alle Personen dieser Organisation, setzt ihre Passwörter, schließt Konten und gibt anderen die Verwaltung. Fremde Mail zu lesen gehört nicht dazu.`,
  takeAdministrator: 'Entziehen', takeAdministratorTitle: 'Verwaltung entziehen', takeAdministratorText: (who) => `${who} behält die eigene Mail und verwaltet nichts mehr.`, notYourself: 'Sich selbst können Sie das nicht entziehen. Andere mit Verwaltung können es.',
  secondFactor: 'Zweiter Faktor', secondFactorOn: 'Beim Anmelden wird ein Code der Authenticator-App verlangt.', secondFactorOff: 'Keiner eingerichtet.', resetTotp: 'Zurücksetzen', resetTotpTitle: 'Zweiten Faktor zurücksetzen', resetTotpText: (who) => `${who} meldet sich mit dem Passwort allein an, bis eine neue Authenticator-App eingerichtet ist. Tun Sie das nur, wenn Sie sicher sind, wer fragt.`,
  appPasswords: 'App-Passwörter', appPasswordsHint: 'Eines für jedes Mailprogramm oder Gerät.', noAppPasswords: 'Kein Mailprogramm ist verbunden.', appPasswordNew: 'Neues App-Passwort', appPasswordFor: 'Wofür ist es?', appPasswordMade: (label) => `Für „${label}“:`, revoke: 'Entziehen', revokeTitle: (label) => `„${label}“ entziehen`,
  revokeText: 'Das Programm, das es benutzt, kann sofort keine Mail mehr abrufen oder senden. Vorhandene Mail bleibt.', webSessions: 'Sitzungen im Web', noWebSessions: 'Nirgends angemeldet.', endSession: 'Beenden', endSessionTitle: 'Diese Sitzung beenden', endSessionText: 'Wer sie benutzt, muss sich neu anmelden.', madeOn: (when) => `seit ${when}`, endsOn: (when) => `endet ${when}`, unnamed: 'ohne Namen',
  closeAccount: 'Konto schließen', closeAccountHint: 'Die Mail bleibt erhalten. Niemand kann sich anmelden, neue Mail wird abgewiesen.', closeAccountText: (who) => `${who} kann sich auf keinem Gerät mehr anmelden. Neue Mail an diese Adresse wird abgewiesen. Die vorhandene Mail bleibt erhalten.`, closed: (who) => `${who} ist geschlossen.`, cannotCloseYourself: 'Das Konto, mit dem Sie angemeldet sind, können Sie nicht schließen.', notThere: 'Diese Person gibt es nicht.',

  aliasHint: 'Eine weitere Adresse, deren Mail eine Person bekommt.', newAlias: 'Neuer Alias', aliasAddress: 'Alias', aliasOf: 'Wer die Mail bekommt', noAliases: 'Keine Aliasse.', goesTo: (who) => `geht an ${who}`, removeAlias: 'Entfernen', removeAliasTitle: (alias) => `${alias} entfernen`, removeAliasText: (alias) => `Mail an ${alias} wird dann abgewiesen. Schon angekommene Mail bleibt.`, aliasAdded: (alias) => `${alias} ist eingerichtet.`, addAlias: 'Hinzufügen',

  domainsHint: 'Domains richtet ein, wer die Geräte betreibt.', newDomain: 'Neue Domain', addDomain: 'Hinzufügen', removeDomain: 'Entfernen', removeDomainTitle: (domain) => `${domain} entfernen`, removeDomainText: (domain) => `Mail an ${domain} wird dann abgewiesen. Das geht erst, wenn kein Konto und kein Alias sie benutzt.`, noDomainsYet: 'Keine Domains.', domainHint: 'Ihre Mail wird hier angenommen, sobald ihr MX-Eintrag hierher führt.',

  auditHint: 'Wer was getan hat. Lesen wird nicht festgehalten, Passwörter nie.', onlyFailures: 'Nur Fehlgeschlagenes', when: 'Wann', who: 'Wer', what: 'Was', about: 'Worüber', outcome: 'Ergebnis', didWork: 'erledigt', didFail: 'fehlgeschlagen', auditEmpty: 'Noch wurde nichts getan.', auditNewest: (count) => `${n(count, 'Eintrag', 'Einträge')} dieses Geräts, das Neueste zuerst.`,
  by: (who) => who.replace(/^operator (?!root)/, 'Operator ').replace(/^administrator /, 'Verwaltung '),
};
