//! Tricky messages and what IMAP must say about them, compared with Dovecot 2.3's answers.
//!
//! Where the two differ the RFCs decided: a line end before an outer boundary belongs to it even
//! behind an inner boundary (RFC 2046 5.1.1), a boundary's trailing blanks do not count, RFC 2231
//! continuations are joined, no charset is made up for a part that names a type, an address without
//! a domain has an empty one, names of types are in lower case. Ours by choice: of a field that may
//! stand once the first counts; a multipart without a boundary is shown as text; routes are dropped.

/// One message and its lists.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Written with LF, meant with CRLF.
    pub(super) message: &'static str,
    /// Written with LF in literals, meant with CRLF.
    pub(super) envelope: &'static str,
    pub(super) bodystructure: &'static str,
}

pub(super) const CORPUS: &[Case] = &[
    Case {
        name: "plain",
        message: r#"From: Joe Q. Public <john.q.public@example.com>
To: Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>
Cc: <boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>
Date: Tue, 1 Jul 2003 10:52:37 +0200
Subject: Saying Hello
Message-ID: <5678.21-Nov-1997@example.com>
In-Reply-To: <1234@local.machine.example>

Hi everyone.
Bye.
"#,
        envelope: r#"("Tue, 1 Jul 2003 10:52:37 +0200" "Saying Hello" (("Joe Q. Public" NIL "john.q.public" "example.com")) (("Joe Q. Public" NIL "john.q.public" "example.com")) (("Joe Q. Public" NIL "john.q.public" "example.com")) (("Mary Smith" NIL "mary" "x.test")(NIL NIL "jdoe" "example.org")("Who?" NIL "one" "y.test")) ((NIL NIL "boss" "nil.test")("Giant; \"Big\" Box" NIL "sysservices" "example.net")) NIL "<1234@local.machine.example>" "<5678.21-Nov-1997@example.com>")"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 20 2 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "sender and reply-to",
        message: r#"From: a@x.test, b@x.test
Sender: c@x.test
Reply-To: "D" <d@x.test>
Bcc: e@x.test

"#,
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")(NIL NIL "b" "x.test")) ((NIL NIL "c" "x.test")) (("D" NIL "d" "x.test")) NIL NIL ((NIL NIL "e" "x.test")) NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "groups",
        message: r"From: Pete <pete@silly.test>
To: A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;
Cc: Undisclosed recipients:;
Subject: (not a comment)

x
",
        envelope: r#"(NIL "(not a comment)" (("Pete" NIL "pete" "silly.test")) (("Pete" NIL "pete" "silly.test")) (("Pete" NIL "pete" "silly.test")) ((NIL NIL "A Group" NIL)("Ed Jones" NIL "joe" "where.test")(NIL NIL "joe" "where.test")("John" NIL "jdoe" "one.test")(NIL NIL NIL NIL)) ((NIL NIL "Undisclosed recipients" NIL)(NIL NIL NIL NIL)) NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "empty fields",
        message: r"From:
To: 
Subject:
Date:
Message-ID:

x
",
        envelope: r#"("" "" NIL NIL NIL NIL NIL NIL NIL "")"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "no header",
        message: r"
From: nobody@x.test

text
",
        envelope: r"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)",
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 29 3 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "only header",
        message: r"Subject: that is all
From: a@x.test
",
        envelope: r#"(NIL "that is all" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "header without an end",
        message: r"Subject: that is all
From: a@x.test",
        envelope: r#"(NIL "that is all" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "empty body",
        message: r"From: a@x.test
Content-Type: text/plain; charset=utf-8

",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "mbox junk",
        message: r"From MAILER-DAEMON Fri Jul  8 12:08:34 2011
From: a@x.test
this line is no field
Subject: after junk
>From: quoted@x.test

From here
",
        envelope: r#"(NIL "after junk" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 11 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "folded",
        message: r#"From: a@x.test
Subject: one
 two
	three
To: b@x.test,
  c@x.test
Content-Type: text/plain;
	charset="utf-8";
 format=flowed

x
"#,
        envelope: r#"(NIL "one two	three" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "b" "x.test")(NIL NIL "c" "x.test")) NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "utf-8" "format" "flowed") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "eight bit header",
        message: r#"From: Jürgen <j@bücher.test>
Subject: Grüße "hier"
Content-Type: text/plain; name=ü.txt

x
"#,
        envelope: r#"(NIL {14}
Grüße "hier" (({7}
Jürgen NIL "j" {12}
bücher.test)) (({7}
Jürgen NIL "j" {12}
bücher.test)) (({7}
Jürgen NIL "j" {12}
bücher.test)) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("name" {6}
ü.txt) NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "encoded words",
        message: r"From: =?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <j@x.test>
To: =?utf-8?B?TcO8bGxlciwgSmFu?= <m@x.test>
Subject: =?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?= =?iso-8859-1?q?_aus_M=FCnchen?=

x
",
        envelope: r#"(NIL "=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?= =?iso-8859-1?q?_aus_M=FCnchen?=" (("=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?=" NIL "j" "x.test")) (("=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?=" NIL "j" "x.test")) (("=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?=" NIL "j" "x.test")) (("=?utf-8?B?TcO8bGxlciwgSmFu?=" NIL "m" "x.test")) NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "alternative",
        message: r#"From: a@x.test
Subject: both
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"
Content-Language: en, de

preamble
--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

caf=C3=A9 =
noir
--b1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+Y2Fmw6k8L3A+
--b1--
epilogue
"#,
        envelope: r#"(NIL "both" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" ("charset" "utf-8") NIL NIL "quoted-printable" 17 1 NIL NIL NIL NIL)("text" "html" ("charset" "utf-8") NIL NIL "base64" 16 0 NIL NIL NIL NIL) "alternative" ("boundary" "b1") NIL ("en" "de") NIL)"#,
    },
    Case {
        name: "nested",
        message: r#"From: a@x.test
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/related; type="multipart/alternative"; boundary=mid

--mid
Content-Type: multipart/alternative; boundary=inner

--inner

plain
--inner
Content-Type: text/html

<b>html</b>
--inner--
--mid
Content-Type: image/png
Content-ID: <img@x.test>
Content-Description: a picture
Content-Transfer-Encoding: base64
Content-Location: http://x.test/a.png

iVBORw0KGgo=
--mid--

--outer
Content-Type: application/pdf; name="a b.pdf"
Content-Disposition: attachment; filename="a b.pdf"; size=4
Content-Transfer-Encoding: BASE64

JVBE
--outer--
"#,
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 0 NIL NIL NIL NIL)("text" "html" NIL NIL NIL "7bit" 11 0 NIL NIL NIL NIL) "alternative" ("boundary" "inner") NIL NIL NIL)("image" "png" NIL "<img@x.test>" "a picture" "base64" 12 NIL NIL NIL "http://x.test/a.png") "related" ("type" "multipart/alternative" "boundary" "mid") NIL NIL NIL)("application" "pdf" ("name" "a b.pdf") NIL NIL "base64" 4 NIL ("attachment" ("filename" "a b.pdf" "size" "4")) NIL NIL) "mixed" ("boundary" "outer") NIL NIL NIL)"#,
    },
    Case {
        name: "attached message",
        message: r"From: a@x.test
Subject: Fwd
Content-Type: multipart/mixed; boundary=b

--b

see below
--b
Content-Type: message/rfc822
Content-Disposition: attachment; filename=m.eml

From: inner@x.test
Subject: inner
Date: Mon, 1 Jan 2024 00:00:00 +0000
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: text/plain

one
two
--c
Content-Type: text/plain

three
--c--
--b--
",
        envelope: r#"(NIL "Fwd" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 9 0 NIL NIL NIL NIL)("message" "rfc822" NIL NIL NIL "7bit" 207 ("Mon, 1 Jan 2024 00:00:00 +0000" "inner" ((NIL NIL "inner" "x.test")) ((NIL NIL "inner" "x.test")) ((NIL NIL "inner" "x.test")) NIL NIL NIL NIL NIL) (("text" "plain" NIL NIL NIL "7bit" 8 1 NIL NIL NIL NIL)("text" "plain" NIL NIL NIL "7bit" 5 0 NIL NIL NIL NIL) "mixed" ("boundary" "c") NIL NIL NIL) 14 NIL ("attachment" ("filename" "m.eml")) NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "message that is a message",
        message: r"From: a@x.test
Content-Type: message/rfc822

From: b@x.test
Content-Type: message/rfc822

From: c@x.test
Subject: innermost

text
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("message" "rfc822" NIL NIL NIL "7bit" 92 (NIL NIL ((NIL NIL "b" "x.test")) ((NIL NIL "b" "x.test")) ((NIL NIL "b" "x.test")) NIL NIL NIL NIL NIL) ("message" "rfc822" NIL NIL NIL "7bit" 44 (NIL "innermost" ((NIL NIL "c" "x.test")) ((NIL NIL "c" "x.test")) ((NIL NIL "c" "x.test")) NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL) 7 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "digest",
        message: r"From: a@x.test
Content-Type: multipart/digest; boundary=d

--d

From: one@x.test
Subject: first

1
--d
Content-Type: text/plain

2
--d--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("message" "rfc822" NIL NIL NIL "7bit" 37 (NIL "first" ((NIL NIL "one" "x.test")) ((NIL NIL "one" "x.test")) ((NIL NIL "one" "x.test")) NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)("text" "plain" NIL NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "digest" ("boundary" "d") NIL NIL NIL)"#,
    },
    Case {
        name: "delivery report",
        message: r"From: mailer@x.test
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r

It failed.
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; x.test

Final-Recipient: rfc822; a@x.test
Action: failed
--r
Content-Type: text/rfc822-headers

From: a@x.test
--r--
",
        envelope: r#"(NIL NIL ((NIL NIL "mailer" "x.test")) ((NIL NIL "mailer" "x.test")) ((NIL NIL "mailer" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 0 NIL NIL NIL NIL)("message" "delivery-status" NIL NIL NIL "7bit" 79 NIL NIL NIL NIL)("text" "rfc822-headers" NIL NIL NIL "7bit" 14 0 NIL NIL NIL NIL) "report" ("report-type" "delivery-status" "boundary" "r") NIL NIL NIL)"#,
    },
    Case {
        name: "no last boundary",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

one
--b
Content-Type: text/html

two
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" NIL NIL NIL "7bit" 3 0 NIL NIL NIL NIL)("text" "html" NIL NIL NIL "7bit" 5 1 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "inner not ended",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner

one
--outer

two
--outer--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) "alternative" ("boundary" "inner") NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) "mixed" ("boundary" "outer") NIL NIL NIL)"#,
    },
    Case {
        name: "boundary begins another",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=b2

--b2

inner
--b2--
--b

outer
--b--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 0 NIL NIL NIL NIL) "alternative" ("boundary" "b2") NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "boundary with blanks",
        message: r#"From: a@x.test
Content-Type: multipart/mixed; boundary="b c  "

--b c   

one
--b c--   
"#,
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) "mixed" ("boundary" "b c  ") NIL NIL NIL)"#,
    },
    Case {
        name: "boundary in a header",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html
--b

two
--b--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "html" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "multipart without parts",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=b

nothing here
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "multipart without boundary",
        message: r"From: a@x.test
Content-Type: multipart/mixed

--b

text
--b--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 20 4 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "empty parts",
        message: r"From: a@x.test
Content-Type: multipart/mixed; boundary=b

--b
--b

--b


--b--
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
    },
    Case {
        name: "rfc 2231",
        message: r#"From: a@x.test
Content-Type: application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn't it!"
Content-Disposition: attachment; filename*0="long"; filename*1=" name.txt"; filename*=utf-8''%e2%82%ac.txt

x
"#,
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("application" "x-stuff" ("title*" "us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!") NIL NIL "7bit" 3 NIL ("attachment" ("filename" "long name.txt" "filename*" "utf-8''%e2%82%ac.txt")) NIL NIL)"#,
    },
    Case {
        name: "charset comment",
        message: r"From: a@x.test
Content-Type: text/plain (really); charset=us-ascii (Plain text)
Content-Transfer-Encoding: 7bit (of course)

x
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "unterminated",
        message: r#"From: "John Doe <j@x.test>
To: Mary (the one <m@x.test>
Subject: "open
Content-Type: text/plain; charset="utf-8
Content-Disposition: inline; filename=(open

x
"#,
        envelope: r#"(NIL "\"open" (("\"John Doe" NIL "j" "x.test")) (("\"John Doe" NIL "j" "x.test")) (("\"John Doe" NIL "j" "x.test")) (("the one <m@x.test>" NIL "Mary" "")) NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 3 1 NIL ("inline" ("filename" "")) NIL NIL)"#,
    },
    Case {
        name: "bad type",
        message: r"From: a@x.test
Content-Type: text
Content-Transfer-Encoding: x-uue

x
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "x-uue" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "quotes and backslashes",
        message: r#"From: "a \\ \"b\"" <a@x.test>
Subject: C:\dir "quoted"
Content-Type: text/plain; name="a\"b\\c"

x
"#,
        envelope: r#"(NIL "C:\\dir \"quoted\"" (("a \\ \"b\"" NIL "a" "x.test")) (("a \\ \"b\"" NIL "a" "x.test")) (("a \\ \"b\"" NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("name" "a\"b\\c") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "addresses without domains",
        message: r"From: root
To: <>, John Doe <john>, @x.test
Cc: <@a.test,@b.test:route@c.test>

x
",
        envelope: r#"(NIL NIL ((NIL NIL "root" "")) ((NIL NIL "root" "")) ((NIL NIL "root" "")) ((NIL NIL "" "")("John Doe" NIL "john" "")(NIL NIL "" "x.test")) ((NIL NIL "route" "c.test")) NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "same field twice",
        message: r"From: a@x.test
To: b@x.test
To: c@x.test
Subject: first
Subject: second

x
",
        envelope: r#"(NIL "first" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "b" "x.test")(NIL NIL "c" "x.test")) NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "names in any case",
        message: r#"FROM: a@x.test
sUBJECT : odd
CONTENT-TYPE: TEXT/HTML; CHARSET="ISO-8859-1"
content-transfer-encoding: Quoted-Printable

x
"#,
        envelope: r#"(NIL "odd" ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("text" "html" ("charset" "ISO-8859-1") NIL NIL "quoted-printable" 3 1 NIL NIL NIL NIL)"#,
    },
    Case {
        name: "message in base64",
        message: r"From: a@x.test
Content-Type: message/rfc822
Content-Transfer-Encoding: base64

RnJvbTogYkB4LnRlc3QNCg0KeA==
",
        envelope: r#"(NIL NIL ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) ((NIL NIL "a" "x.test")) NIL NIL NIL NIL NIL)"#,
        bodystructure: r#"("message" "rfc822" NIL NIL NIL "base64" 30 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) 1 NIL NIL NIL NIL)"#,
    },
];
