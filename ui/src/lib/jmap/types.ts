// The part of RFC 8620, 8621, 9425 and 9610 that the app uses.

export type Id = string;
export type Keywords = Record<string, boolean>;

export interface Address {
  name: string | null;
  email: string;
}

export interface Mailbox {
  id: Id;
  name: string;
  parentId: Id | null;
  role: string | null;
  sortOrder: number;
  totalEmails: number;
  unreadEmails: number;
  totalThreads: number;
  unreadThreads: number;
  myRights: Record<string, boolean>;
}

/** What the list shows of a message. */
export interface Email {
  id: Id;
  blobId: Id;
  threadId: Id;
  mailboxIds: Record<Id, boolean>;
  keywords: Keywords;
  size: number;
  receivedAt: string;
  from: Address[] | null;
  to: Address[] | null;
  cc: Address[] | null;
  subject: string | null;
  preview: string;
  hasAttachment: boolean;
}

export interface Part {
  partId: string | null;
  blobId: Id | null;
  size: number;
  name: string | null;
  type: string;
  charset?: string | null;
  disposition: string | null;
  cid: string | null;
  subParts?: Part[] | null;
}

/** What reading it needs besides; a message's content never changes. */
export interface Body {
  id: Id;
  bcc: Address[] | null;
  replyTo: Address[] | null;
  sentAt: string | null;
  messageId: string[] | null;
  inReplyTo: string[] | null;
  references: string[] | null;
  bodyStructure: Part;
  textBody: Part[];
  htmlBody: Part[];
  attachments: Part[];
  bodyValues: Record<string, { value: string; isTruncated: boolean }>;
}

export interface Identity {
  id: Id;
  name: string;
  email: string;
  replyTo: Address[] | null;
  textSignature: string;
  htmlSignature: string;
  mayDelete: boolean;
}

export interface Submission {
  id: Id;
  emailId: Id;
  threadId: Id;
  identityId: Id;
  undoStatus: 'pending' | 'final' | 'canceled';
  sendAt: string;
}

export interface Vacation {
  id: Id;
  isEnabled: boolean;
  fromDate: string | null;
  toDate: string | null;
  subject: string | null;
  textBody: string | null;
  htmlBody: string | null;
}

export interface Quota {
  id: Id;
  resourceType: string;
  used: number;
  hardLimit: number;
  warnLimit?: number | null;
}

export interface Card {
  id: Id;
  uid: string;
  kind?: string;
  addressBookIds: Record<Id, boolean>;
  name?: { full?: string };
  emails?: Record<string, { address: string }>;
  phones?: Record<string, { number: string }>;
  organizations?: Record<string, { name: string }>;
  notes?: Record<string, { note: string }>;
  members?: Record<string, boolean>;
}

export interface Preferences {
  id: Id;
  language: 'de' | 'en' | null;
  theme: 'auto' | 'light' | 'dark';
  density: 'normal' | 'compact';
  undoSeconds: number;
  signatureDefault: boolean;
  trustedSenders: Record<string, boolean>;
  remoteImages: 'ask' | 'always';
  shortcuts: boolean;
}

export interface Objects {
  Mailbox: Mailbox;
  Email: Email & Partial<Body>;
  Thread: { id: Id; emailIds: Id[] };
  Identity: Identity;
  EmailSubmission: Submission;
  VacationResponse: Vacation;
  Quota: Quota;
  AddressBook: { id: Id; name: string; isDefault: boolean };
  ContactCard: Card;
  Preferences: Preferences;
}

export type Type = keyof Objects;

export interface SetError {
  type: string;
  description?: string;
  properties?: string[];
  invalidRecipients?: string[];
  notFound?: Id[];
}

export interface GetAnswer<T> {
  state: string;
  list: T[];
  notFound: Id[];
}

export interface ChangesAnswer {
  newState: string;
  hasMoreChanges: boolean;
  created: Id[];
  updated: Id[];
  destroyed: Id[];
}

export interface QueryAnswer {
  queryState: string;
  position: number;
  ids: Id[];
  total?: number;
}

export interface SetAnswer<T> {
  oldState: string | null;
  newState: string;
  created: Record<string, Partial<T> & { id: Id }> | null;
  updated: Record<Id, unknown> | null;
  destroyed: Id[] | null;
  notCreated: Record<string, SetError> | null;
  notUpdated: Record<Id, SetError> | null;
  notDestroyed: Record<Id, SetError> | null;
}

export interface Snippet {
  emailId: Id;
  subject: string | null;
  preview: string | null;
}

/** The answer to each method. */
export type Answers = { [T in Type as `${T}/get`]: GetAnswer<Objects[T]> } & { [T in Type as `${T}/set`]: SetAnswer<Objects[T]> } & {
  [T in Type as `${T}/changes`]: ChangesAnswer;
} & { [T in Type as `${T}/query`]: QueryAnswer } & {
  'Email/import': { created: Record<string, { id: Id; threadId: Id }> | null; notCreated: Record<string, SetError> | null };
  'SearchSnippet/get': { list: Snippet[] };
};

export type Method = keyof Answers;

export type Filter = { operator: 'AND' | 'OR' | 'NOT'; conditions: Filter[] } | Condition;

export interface Condition {
  inMailbox?: Id;
  inMailboxOtherThan?: Id[];
  before?: string;
  after?: string;
  minSize?: number;
  maxSize?: number;
  hasKeyword?: string;
  notKeyword?: string;
  hasAttachment?: boolean;
  text?: string;
  from?: string;
  to?: string;
  cc?: string;
  bcc?: string;
  subject?: string;
  body?: string;
}
