// English, and thereby the list of all texts.  A text with a value is a function.
const plural = new Intl.PluralRules('en');
const n = (count: number, one: string, other: string): string => `${new Intl.NumberFormat('en').format(count)} ${plural.select(count) === 'one' ? one : other}`;

export const en = {
  // Everywhere
  close: 'Close', cancel: 'Cancel', save: 'Save', done: 'Done', more: 'More', name: 'Name', undo: 'Undo', search: 'Search', copy: 'Copy', copied: 'Copied', change: 'Change', add: 'Add',
  loading: 'Loading…', oneMoment: 'One moment…', skip: 'Skip to the mail', size: 'Size', date: 'Date', me: 'me',
  didNotWork: 'That did not work. Nothing has been changed.', broken: 'The app could not start.', tryAgain: 'Try again',
  reconnecting: 'Reconnecting… you can go on working',
  notice: 'What is going on', hideNotice: 'Hide this notice', since: (when: string) => `Since ${when}.`,

  // Sign-in
  signIn: 'Sign in', signInHint: 'With your usual address.', signInAgain: 'Please sign in again', signInAgainHint: 'Your session has ended. What you were writing is still here.',
  address: 'Address', password: 'Password', code: 'Code', codeHint: 'The six digits that your authenticator app shows now.',
  ownDevice: 'This is my own device', ownDeviceHint: 'Stay signed in for 30 days. Otherwise for 12 hours.', otherAccount: 'Use another account',
  wrongPassword: 'Address or password is wrong.', wrongCode: 'That code is wrong or too old. Take the one shown now.', busy: 'Many people are signing in just now. Please try again in a few seconds.',
  notHere: 'The server is being taken over and will answer in a moment. Please try again.', signInFailed: 'Signing in did not work. Please try again.', forgotPassword: 'No password? Your IT has it.',

  // Folders
  folders: 'Folders', ownFolders: 'My folders', role_inbox: 'Inbox', role_drafts: 'Drafts', role_sent: 'Sent', role_archive: 'Archive', role_junk: 'Junk', role_trash: 'Trash',
  newFolder: 'New folder', newSubfolder: 'New folder inside', rename: 'Rename', move: 'Move', deleteIt: 'Delete', empty: 'Empty', topLevel: 'At the top', findFolder: 'Find a folder',
  folderMenu: (folder: string) => `Actions for ${folder}`, moveFolder: (folder: string) => `Move “${folder}” to`, folderExists: 'There is a folder of that name already.', folderNotDeleted: 'The folder could not be deleted.',
  deleteFolder: (folder: string, count: number) => `Delete the folder “${folder}” and the ${n(count, 'message', 'messages')} in it for good?`, emptyForGood: (folder: string) => `Delete everything in “${folder}” for good?`,
  importEml: 'Upload messages (.eml)', imported: (count: number, folder: string) => `${n(count, 'message', 'messages')} put into ${folder}.`, importFailed: (count: number) => `${n(count, 'file was', 'files were')} not a message.`,
  storage: 'Storage', storageWarns: 'Nearly full. When it is full, new mail waits at its sender.', storageFull: 'Full. New mail waits at its sender until there is room: delete what you need no more.', quota: (used: string, all: string) => `${used} of ${all} used`, unreadCount: (count: number) => `${count} unread`, draftsCount: (count: number) => n(count, 'draft', 'drafts'),

  // List
  select: 'Select', selectAll: 'All', selectOne: 'Select', selected: (count: number) => `${count} selected`, clearSelection: 'Clear the selection', found: (count: number) => `${new Intl.NumberFormat('en').format(count)} found`,
  nothingFound: 'Nothing found. Try fewer words.', inboxEmpty: 'Nothing here. New mail shows by itself.', folderEmpty: 'This folder is empty.',
  unread: 'unread', draft: 'Draft', answered: 'answered', hasAttachment: 'has attachments', noSubject: '(no subject)', noSender: '(no sender)', toWhom: (names: string) => `to ${names}`,
  messages: (count: number) => n(count, 'message', 'messages'), newMail: (count: number) => n(count, 'new message', 'new messages'),
  readOrUnread: 'Read or unread', markUnread: 'Mark as unread', star: 'Star', archive: 'Archive', junk: 'Junk', notJunk: 'Not junk',
  moved: (count: number, folder: string) => `${n(count, 'conversation', 'conversations')} moved to ${folder}.`, moveTitle: (count: number) => `Move ${n(count, 'conversation', 'conversations')} to`,
  archived: (count: number) => `${n(count, 'conversation', 'conversations')} archived.`, trashed: (count: number) => `${n(count, 'conversation', 'conversations')} moved to the trash.`, junked: (count: number) => `${n(count, 'conversation', 'conversations')} moved to junk.`,
  deleted: (count: number) => `${n(count, 'conversation', 'conversations')} deleted.`, deleteForGood: (count: number) => `Delete ${n(count, 'message', 'messages')} for good?`,

  // Search
  searchMail: 'Search mail', clearSearch: 'Clear the search',
  op_from: 'from:', op_from_hint: 'who wrote it', op_to: 'to:', op_to_hint: 'who got it', op_subject: 'subject:', op_subject_hint: 'words of the subject', op_attachment: 'has:attachment', op_attachment_hint: 'with files',
  op_unread: 'is:unread', op_unread_hint: 'not read yet', op_flagged: 'is:flagged', op_flagged_hint: 'with a star', op_after: 'after:', op_after_hint: '2026-11-01, or 7d ago', op_before: 'before:', op_before_hint: 'a date, too', op_in: 'in:', op_in_hint: 'a folder',

  // Reading
  reading: 'Conversation', conversation: 'Messages of the conversation', chooseOne: 'Choose a conversation', backToList: 'Back to the list', previous: 'Previous conversation', next: 'Next conversation',
  messageFrom: (who: string) => `Message from ${who}`, moreFor: (who: string) => `More for the message from ${who}`, print: 'Print', source: 'Source', saveEml: 'Save as .eml', details: 'Details', editDraft: 'Go on writing', addContact: 'Add to contacts', contactAdded: 'Added to your contacts.',
  from: 'From', to: 'To', cc: 'Cc', bcc: 'Bcc', replyTo: 'Reply to', subject: 'Subject', received: 'Received', attachments: 'Attachments', unnamed: 'unnamed', preview: (file: string) => `Look at ${file}`, downloadIt: 'Download', download: (file: string, size: string) => `Download ${file}, ${size}`,
  imagesBlocked: 'Images from elsewhere are not loaded: their sender would learn that you read this.', showOnce: 'Show now', showAlways: (who: string) => `Always from ${who}`,
  signedNotChecked: 'This message is signed; the signature is not checked here.', encryptedNotRead: 'This message is encrypted and cannot be read here. Save it as .eml and open it in your mail program.',
  reply: 'Reply', replyAll: 'Reply to all', forward: 'Forward', wrote: (when: string, who: string) => `On ${when}, ${who} wrote:`, forwarded: 'Forwarded message',

  // Writing
  write: 'Write', newMessage: 'New message', message: 'Message', ccBcc: 'Cc, Bcc', send: 'Send', sendHint: 'Send (Ctrl+Enter)', sendLater: 'Send later', when: 'When', chooseTime: 'Choose a time…',
  tomorrowMorning: 'Tomorrow morning', tomorrowAfternoon: 'Tomorrow afternoon', mondayMorning: 'Monday morning', attach: 'Attach files', discard: 'Discard', discardDraft: 'Discard this draft?', minimise: 'Minimise', larger: 'Larger', smaller: 'Smaller', saveAndClose: 'Save and close',
  saving: 'Saving…', savedAt: (time: string) => `Saved ${time}`, notSaved: 'Not saved yet', keptHere: 'Kept on this device', sendingNow: 'Sending…', sending: 'Sending…', sent: 'Sent.', unsent: 'Not sent. It is a draft again.', alreadySent: 'Too late: it has been sent.', willBeSent: (when: string) => `Will be sent on ${when}.`,
  noRecipients: 'Whom is it for? Please give an address.', badRecipients: (list: string) => `Not an address: ${list}`, stillUploading: 'Files are still on their way. One moment.', sendWithoutSubject: 'Send without a subject?', forgotAttachment: 'You write of an attachment, but there is none. Send anyway?',
  notSent: 'It could not be sent. It is kept as a draft.', mailTooLarge: 'The message is too large. Please take out some files.', fileTooLarge: (file: string) => `${file} is too large.`, fileFailed: (file: string) => `${file} could not be uploaded.`, filesGone: 'Some files were uploaded too long ago. Please attach them again.',
  uploading: (file: string) => `Uploading ${file}`, removeFile: (file: string) => `Remove ${file}`, removeAddress: (who: string) => `Remove ${who}`, suggestions: 'Suggestions', dropHere: 'Drop files to attach them',
  quoted: 'Original message', editQuote: 'Edit it', leaveOut: 'Leave it out', formatting: 'Formatting', bold: 'Bold', italic: 'Italic', underline: 'Underlined', strike: 'Struck through', bullets: 'List', numbers: 'Numbered list', quoteText: 'Quote', link: 'Link', linkTarget: 'Where to', insert: 'Insert', insertImage: 'Image in the text', clearFormat: 'Clear the formatting',
  scheduled: 'Scheduled', nothingScheduled: 'Nothing is waiting. What you “send later” is listed here.', cancelSending: 'Do not send', sendsOn: (when: string) => `goes out ${when}`,

  // Contacts
  contacts: 'Contacts', newContact: 'New contact', newGroup: 'New group', searchContacts: 'Search contacts', noContacts: 'No contacts yet. Colleagues are found without being listed here.', chooseContact: 'Choose a contact', email: 'E-mail', phone: 'Phone', company: 'Company', notes: 'Notes', members: 'Members', anotherEmail: 'Another e-mail', anotherPhone: 'Another phone', group: 'Group',
  edit: 'Edit', deleteContact: (who: string) => `Delete ${who} from your contacts?`, writeTo: (who: string) => `Write to ${who}`,

  // Settings
  admin: 'Administration', settings: 'Settings', appearance: 'Appearance', language: 'Language', languageAuto: 'As the browser', theme: 'Colours', themeAuto: 'As the device', themeLight: 'Light', themeDark: 'Dark', density: 'List', densityNormal: 'Airy, with preview', densityCompact: 'Dense',
  writing: 'Writing', undoTime: 'Time to undo sending', seconds: (count: number) => (count ? n(count, 'second', 'seconds') : 'None'), signatures: 'Signatures', signature: 'Signature', signatureFor: (who: string) => `For ${who}`, signatureDefault: 'Put it under new messages and answers', yourName: 'Your name', saved: 'Saved.',
  readingMail: 'Reading', remoteImages: 'Images from elsewhere', remoteAsk: 'Ask each time', remoteAlways: 'Always show', trusted: 'Always shown from', nobody: 'Nobody yet.', remove: 'Remove', shortcutsOn: 'Single-key shortcuts',
  vacation: 'Out of office', vacationOn: 'Answer automatically', vacationFrom: 'From', vacationTo: 'Until', vacationSubject: 'Subject', vacationText: 'Answer', vacationHint: 'Each sender gets it once in a while, never a mailing list.', vacationActive: 'Automatic answers are on.',
  security: 'Security', oldPassword: 'Password now', newPassword: 'New password', newAgain: 'New password again', changePassword: 'Change the password', passwordHint: 'At least 10 characters. All other sessions end.', passwordChanged: 'The password is changed. All other sessions have ended.', passwordsDiffer: 'The two are not the same.', passwordWeak: 'This password is too short or too easy.', wrongOld: 'That is not your password.',
  totp: 'Second factor', totpOff: 'Signing in wants your password only.', totpOn: 'Signing in wants a code of your authenticator app, too.', totpStart: 'Set up', totpStop: 'Switch off', totpScan: 'Scan this with your authenticator app, then type in the code that it shows.', totpSecret: 'Or type in this key:', confirm: 'Confirm',
  passkeys: 'Passkeys', passkeySignIn: 'Sign in with a passkey', passkeyAdd: 'Add a passkey', passkeysHint: 'Sign in with a finger, your face or a PIN of this device, without password and code.', passkeyNoName: 'Passkeys are tied to a name. You came by an address that they cannot be tied to, so you sign in with your password here.', passkeyNotHere: 'This browser has no passkeys.', passkeyExists: 'This device has a passkey for your account already.', passkeyWrong: 'This passkey does not open an account here. Please use your password.', passkeyRemove: (name: string) => `Remove the passkey “${name}”? Whoever has signed in with it is signed out.`, addedOn: (when: string) => `added ${when}`,
  sessions: 'Sessions', thisOne: 'this one', lastUsed: (when: string) => `last used ${when}`, ownDeviceShort: 'own device', endSession: 'End', signOut: 'Sign out', sessionsHint: 'Where you are signed in. End what you do not know.',
  devices: 'Devices', devicesHint: 'Each connected device has a password of its own, which you can take back here.', noDevices: 'No device is connected.', expires: (when: string) => `until ${when}`, createdOn: (when: string) => `connected ${when}`, revoke: 'Disconnect', revokeDevice: (name: string) => `Disconnect “${name}”? It can no longer fetch or send mail.`, signedInAs: (who: string) => `Signed in as ${who}`,

  // Connect a device
  connect: 'Connect a device', connectHint: 'Mail on your phone or in your mail program, in about two minutes. Each device gets a password of its own.', deviceName: 'What do you call it?', createPassword: 'Create a password for it', devicePassword: 'Password for this device', shownOnce: 'It is shown only now. Nobody needs to remember it.',
  apple: 'iPhone, iPad, Mac', appleDo: 'Load the profile', appleSteps: 'Load the profile on the device itself, then install it: on iPhone and iPad in Settings under “Profile Downloaded”, on a Mac in System Settings under “Device Management”.', android: 'Android', androidSteps: 'In your mail app (Gmail, Samsung Email, Thunderbird, FairEmail …) add an account of the kind “Other” or “IMAP” and type in these fields.',
  thunderbird: 'Thunderbird', thunderbirdSteps: 'New account, your name, address and the password below. If it does not find the rest by itself, choose “Configure manually” and type in these fields.', outlook: 'Outlook (classic)', outlookSteps: 'File, Add Account, “Let me set up my account manually”, IMAP. Type in these fields.',
  outlookWarning: 'New Outlook and Outlook on phones do not connect to this server directly: they hand your password to Microsoft’s cloud, which then fetches your mail. If that cloud is what is disturbed, they cannot work. Please use another app meanwhile.', certificateHint: 'If the device warns of an unknown certificate, compare with what your IT says before going on.',
  incoming: 'Incoming (IMAP)', outgoing: 'Outgoing (SMTP)', server: 'Server', port: 'Port', encryption: 'Encryption', userName: 'User name', securityName: (kind: string) => (kind === 'starttls' ? 'STARTTLS' : 'SSL/TLS'), qr: 'For the phone: scan to open this page there', qrAlt: 'QR code with the address of this page',

  // Keys
  shortcuts: 'Keyboard shortcuts', k_list: 'In the list', k_go: 'Go to', k_write: 'Writing', k_move: 'next, previous', k_open: 'open', k_select: 'select', k_range: 'select on', k_back: 'back, clear', k_archive: 'archive', k_delete: 'delete', k_unread: 'read, unread', k_star: 'star', k_junk: 'junk', k_folder: 'move to a folder', k_new: 'write', k_reply: 'reply, to all', k_forward: 'forward', k_send: 'send', k_search: 'search', k_undo: 'undo', k_help: 'this help', k_close: 'save and close',
};
