package notify

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/wneessen/go-mail"
)

// Mailer sends mails that are not about one alert, such as reports, by the same
// servers and rules. Its methods are safe for concurrent use.
type Mailer struct {
	email *email
	c     common
}

// File is an attachment of a mail.
type File struct {
	Name string // without a path
	Type string // media type
	Data []byte
}

// NewMailer returns a Mailer for e; at is what its errors begin with.
func NewMailer(at string, e Email) (*Mailer, error) {
	if e.Digest != "" || e.MinSeverity != "" {
		return nil, fmt.Errorf("%s: digest and min_severity are of alerts", at)
	}
	c, to, err := DefaultConfig().email(at, e)
	if err != nil {
		return nil, err
	}
	return &Mailer{to, c}, nil
}

// Name is the name of the entry.
func (m *Mailer) Name() string { return m.c.name }

// Send sends one mail. id makes its Message-ID: the same for a repetition. What
// is in subject and text is made lines that begin no header field. An error shows
// no secrets.
func (m *Mailer) Send(ctx context.Context, id, subject, text string, files []File) error {
	msg, domain, err := m.email.envelope(time.Now())
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	msg.SetMessageIDWithValue(fmt.Sprintf("%s.%s@%s", line(id, 100, "none"), m.c.name, domain))
	msg.Subject(line(subject, 300, "tapwatch"))
	msg.SetBodyString(mail.TypeTextPlain, text)
	for _, f := range files {
		if err := msg.AttachReader(line(f.Name, 200, "file"), bytes.NewReader(f.Data), mail.WithFileContentType(mail.ContentType(f.Type))); err != nil {
			return fmt.Errorf("write mail: attach %s: %w", f.Name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.timeout)
	defer cancel()
	if err := m.email.carry(ctx, msg); err != nil {
		return fmt.Errorf("mail %s: %s", m.c.name, errorText(err, m.c.secrets))
	}
	return nil
}
