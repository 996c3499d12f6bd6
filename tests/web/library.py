"""A JMAP library that is not ours asks an appliance: the session, lists, a message that is written and sent,
events. Host, address and password are the arguments; REQUESTS_CA_BUNDLE is the appliance's own authority."""

import sys

from jmapc import (
    Address, Client, Comparator, Email, EmailAddress, EmailBodyPart, EmailBodyValue,
    EmailQueryFilterCondition, EmailSubmission, Envelope, Ref,
)
from jmapc.methods import (
    EmailGet, EmailQuery, EmailSet, EmailSubmissionSet, IdentityGet, MailboxGet, ThreadGet,
)

host, who, password = sys.argv[1:]
client = Client.create_with_password(host=host, user=who, password=password)
assert client.jmap_session.username == who
boxes = {box.role: box for box in client.request(MailboxGet(ids=None)).data}
assert {"inbox", "drafts", "sent", "trash"} <= set(boxes), boxes
identity = client.request(IdentityGet()).data[0]
assert identity.email == who

draft = Email(
    mail_from=[EmailAddress(name="Grüße", email=who)],
    to=[EmailAddress(email=who)],
    subject="from a library",
    keywords={"$draft": True},
    mailbox_ids={boxes["drafts"].id: True},
    body_values={"b": EmailBodyValue(value="hello")},
    text_body=[EmailBodyPart(part_id="b", type="text/plain")],
)
submission = EmailSubmission(
    email_id="#draft",
    identity_id=identity.id,
    envelope=Envelope(mail_from=Address(email=who), rcpt_to=[Address(email=who)]),
)
answers = client.request([
    EmailSet(create={"draft": draft}),
    EmailSubmissionSet(on_success_destroy_email=["#sent"], create={"sent": submission}),
])
made, sent, gone = [answer.response for answer in answers]
assert made.created["draft"].id == gone.destroyed[0] and sent.created["sent"].id, answers

for event in client.events:
    assert event.data.changed, event
    found = client.request([
        EmailQuery(
            filter=EmailQueryFilterCondition(in_mailbox=boxes["inbox"].id, text="library"),
            sort=[Comparator(property="receivedAt", is_ascending=False)],
            collapse_threads=True,
        ),
        EmailGet(ids=Ref("/ids")),
        ThreadGet(ids=Ref("/list/*/threadId")),
    ])
    query, emails, threads = [answer.response for answer in found]
    if query.ids:
        assert emails.data[0].subject == "from a library" and threads.data[0].email_ids
        break
print("jmapc: session, lists, a message written, sent and found, events")
