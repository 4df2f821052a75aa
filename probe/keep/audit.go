package keep

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// AuditLine is one line of the audit file: who asked for what, and what came of it.
// A fetch has two, with the same ID: "begin" before the first packet is read, and
// "end"; what is refused has one.
type AuditLine struct {
	Time        time.Time `json:"time"`
	ID          string    `json:"id"`
	Event       string    `json:"event"` // begin, end, refused
	Name        string    `json:"name"`  // of the token; empty: none was recognised
	Remote      string    `json:"remote"`
	Certificate string    `json:"certificate,omitempty"` // subject of the client's
	Request     string    `json:"request"`
	Within      string    `json:"within,omitempty"` // what the token is confined to
	Status      int       `json:"status,omitempty"` // HTTP
	Error       string    `json:"error,omitempty"`
	Packets     uint64    `json:"packets"`
	Bytes       uint64    `json:"bytes"` // of the file, as far as it was sent
	Truncated   bool      `json:"truncated,omitempty"`
	Unwritten   uint64    `json:"unwritten,omitempty"` // lines about strangers that were left out before this one
}

// audit adds lines to a file. It is opened for each, so that it can be moved away
// at any time.
type audit struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	tokens  float64 // of the bucket that bounds lines about strangers
	refill  time.Time
	skipped uint64
}

// Strangers may fill no disk: a hundred lines at once, then ten a second.
const (
	strangerBurst = 100
	strangerRate  = 10
)

// write adds a line. What a stranger did may be left out; it is then counted in the
// next line.
func (a *audit) write(l AuditLine) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.Time = a.now().UTC()
	if l.Name == "" {
		if a.refill.IsZero() {
			a.tokens = strangerBurst
		} else {
			a.tokens = min(strangerBurst, a.tokens+strangerRate*l.Time.Sub(a.refill).Seconds())
		}
		a.refill = l.Time
		if a.tokens < 1 {
			a.skipped++
			return nil
		}
		a.tokens--
	}
	l.Unwritten = a.skipped
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	a.log.Info("packets: request", "event", l.Event, "id", l.ID, "name", l.Name, "remote", l.Remote, "request", l.Request, "status", l.Status,
		"packets", l.Packets, "bytes", l.Bytes, "error", l.Error)
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write audit %s: %w", a.path, err)
	}
	a.skipped = 0
	return nil
}
