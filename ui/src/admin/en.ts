// English, and thereby the list of the texts of tenants' administration and of what the console shares with it.
const plural = new Intl.PluralRules('en');
const n = (count: number, one: string, other: string): string => `${new Intl.NumberFormat('en').format(count)} ${plural.select(count) === 'one' ? one : other}`;

export const en = {
  // What went wrong
  failed: 'That was not done', whatToDo: 'What to do', failedOffline: 'The appliance did not answer.', failedOfflineDo: 'Look whether it was done before you try it again.', failedBusy: 'Too many requests just now.', failedBusyDo: 'Wait a few seconds and try again.',
  failedSignedOut: 'Your session has ended.', failedSignedOutDo: 'Sign in again, then try again.', failedNotAllowed: 'You may not do this.', failedNotAllowedDo: 'Ask whoever runs the appliances.', failedUnknown: 'The appliance does not understand this request.', failedUnknownDo: 'It may run another version than this page: load the page again.',
  again: 'Try again', refresh: 'Refresh', nothingFits: 'Nothing fits these words.', filter: 'Filter', typeToGoOn: (words: string) => `Type “${words}” to go on`,
  shownOnce: 'Shown only now. Copy it before you close this.', madePassword: 'Password', andMore: (count: number) => `and ${n(count, 'more', 'more')}: narrow it down with the filter`,

  // Sections
  people: 'People', aliases: 'Aliases', domains: 'Domains', audit: 'Audit log', sections: 'Sections',

  // People
  peopleCount: (count: number) => n(count, 'person', 'people'), findPerson: 'Find a person', newPerson: 'New person', noPeople: 'Nobody yet. Make the first person.', administrator: 'Administrator', you: 'you', addressPart: 'Address', domain: 'Domain',
  passwordHow: 'Password', passwordMake: 'Make one', passwordMakeHint: 'It is shown once, for you to hand over.', passwordSet: 'I set one', passwordField: 'Password', passwordLength: 'At least 10 characters.', createPerson: 'Create',
  createdPerson: (who: string) => `${who} is ready. This is the password to hand over:`, createdNoPassword: (who: string) => `${who} was made, but has no password yet. Open the person and set one.`, noDomains: 'There is no domain yet. A person’s address needs one.',

  // One person
  backToPeople: 'All people', password: 'Password', passwordNow: 'Setting a new password ends all of this person’s sessions in the web. App passwords go on working.', setPassword: 'Set a new password', newPasswordFor: (who: string) => `New password for ${who}`, passwordIsSet: (who: string) => `The new password of ${who}:`, setIt: 'Set it',
  administratorOff: 'May use mail, and manage nothing.', administratorOn: 'Manages people, aliases and passwords of this organisation.', makeAdministrator: 'Make administrator', makeAdministratorText: (who: string) => `${who} will see all people of this organisation, set their passwords, close accounts, and make others administrator. Reading others’ mail is not part of it.`,
  takeAdministrator: 'Take away', takeAdministratorTitle: 'Take the administration away', takeAdministratorText: (who: string) => `${who} keeps their mail and can manage nothing any more.`, notYourself: 'You cannot take this from yourself. Another administrator can.',
  secondFactor: 'Second factor', secondFactorOn: 'An authenticator app is wanted at sign-in.', secondFactorOff: 'None is set up.', resetTotp: 'Reset', resetTotpTitle: 'Reset the second factor', resetTotpText: (who: string) => `${who} signs in with the password alone until a new authenticator app is set up. Do this only when you are sure who asks.`,
  appPasswords: 'App passwords', appPasswordsHint: 'One for each mail program or device.', noAppPasswords: 'No mail program is connected.', appPasswordNew: 'New app password', appPasswordFor: 'What is it for?', appPasswordMade: (label: string) => `For “${label}”:`, revoke: 'Revoke', revokeTitle: (label: string) => `Revoke “${label}”`,
  revokeText: 'The program that uses it can fetch and send no more mail, at once. Mail that is here stays.', webSessions: 'Sessions in the web', noWebSessions: 'Not signed in anywhere.', endSession: 'End', endSessionTitle: 'End this session', endSessionText: 'Whoever uses it has to sign in again.', madeOn: (when: string) => `made ${when}`, endsOn: (when: string) => `ends ${when}`, unnamed: 'without a name',
  closeAccount: 'Close the account', closeAccountHint: 'Mail is kept. Nobody can sign in, and new mail is refused.', closeAccountText: (who: string) => `${who} can no longer sign in, on no device. New mail for this address is refused. The mail that is there is kept.`, closed: (who: string) => `${who} is closed.`, cannotCloseYourself: 'You cannot close the account that you are signed in with.', notThere: 'There is no such person.',

  // Aliases
  aliasHint: 'Another address whose mail a person gets.', newAlias: 'New alias', aliasAddress: 'Alias', aliasOf: 'Whose mail it becomes', noAliases: 'No aliases.', goesTo: (who: string) => `goes to ${who}`, removeAlias: 'Remove', removeAliasTitle: (alias: string) => `Remove ${alias}`, removeAliasText: (alias: string) => `Mail to ${alias} is refused from then on. Mail that has come stays.`, aliasAdded: (alias: string) => `${alias} is there.`, addAlias: 'Add',

  // Domains
  domainsHint: 'Your domains are set up by whoever runs the appliances.', newDomain: 'New domain', addDomain: 'Add', removeDomain: 'Remove', removeDomainTitle: (domain: string) => `Remove ${domain}`, removeDomainText: (domain: string) => `Mail to ${domain} is refused from then on. It works only once no account and no alias uses it.`, noDomainsYet: 'No domains.', domainHint: 'Its mail is accepted here as soon as its MX record leads here.',

  // Audit
  auditHint: 'Who did what. Reading is not kept, and no password ever is.', onlyFailures: 'Only what failed', when: 'When', who: 'Who', what: 'What', about: 'About', outcome: 'Outcome', didWork: 'done', didFail: 'failed', auditEmpty: 'Nothing has been done yet.', auditNewest: (count: number) => `${n(count, 'entry', 'entries')} of this appliance, newest first.`,
  by: (who: string) => who,
};
