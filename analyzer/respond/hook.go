package respond

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/notify"
)

// maxOutput bounds what is kept of a program's output, in octets.
const maxOutput = 4 << 10

// call applies or undoes an action by its hook, and returns what the hook said.
func (r *Responder) call(ctx context.Context, h Hook, a Action, doing string) (string, error) {
	timeout := h.Timeout
	if timeout == 0 {
		timeout = hookTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if h.URL != "" {
		return "", post(ctx, h, a, doing)
	}
	argv := arguments(h, a, doing)
	// The list and the file may have changed since the start.
	if err := r.cfg.executable(argv[0]); err != nil {
		return "", err
	}
	return run(ctx, argv)
}

// arguments are those of the program, with the placeholders replaced. What is put
// in has no blanks and no signs that begin an option: addresses, letters, digits.
func arguments(h Hook, a Action, doing string) []string {
	argv := h.Command
	if doing == "undo" {
		argv = h.Undo
	}
	replace := strings.NewReplacer("{target}", a.Target, "{id}", a.ID, "{action}", doing, "{kind}", a.Kind, "{until}", a.Expires.UTC().Format(time.RFC3339))
	list := []string{argv[0]}
	for _, word := range argv[1:] {
		list = append(list, replace.Replace(word))
	}
	return list
}

// run runs a program: no shell, no environment, no input, its own process group,
// which is killed as a whole when the time is over.
func run(ctx context.Context, argv []string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = []string{}, "/"
	var out head
	cmd.Stdout, cmd.Stderr = &out, &out
	alone(cmd)
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	said := clean(string(out.kept))
	switch {
	case err != nil && ctx.Err() != nil:
		return said, fmt.Errorf("run %s: did not end in time: %w", argv[0], ctx.Err())
	case err != nil:
		return said, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return said, nil
}

// head keeps the first octets of what is written to it.
type head struct{ kept []byte } // no bytes.Buffer inside: its ReadFrom would know no bound

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	if room := maxOutput - len(h.kept); room > 0 {
		h.kept = append(h.kept, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

// Order is the body of a POST to a hook.
type Order struct {
	Schema  string    `json:"schema"` // tapwatch.response/1
	ID      string    `json:"id"`
	Action  string    `json:"action"` // apply or undo; may come twice
	Kind    string    `json:"kind"`
	Target  string    `json:"target"`
	Expires time.Time `json:"expires"`
	Why     string    `json:"why"`
	Alert   string    `json:"alert"`
	Who     string    `json:"who"`
}

func post(ctx context.Context, h Hook, a Action, doing string) error {
	body, err := json.Marshal(Order{"tapwatch.response/1", a.ID, doing, a.Kind, a.Target, a.Expires.UTC(), a.Why, a.Alert, a.Who})
	if err != nil {
		return err
	}
	client, err := notify.Client(h.Allow, h.TLS)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return errors.New("make request: address cannot be used")
	}
	for name, value := range h.Headers {
		req.Header.Set(name, value.Reveal())
	}
	req.Header.Set("User-Agent", "tapwatch")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", a.ID+"-"+doing)
	if h.Secret != "" {
		notify.Sign(req.Header, h.Secret.Reveal(), body, time.Now())
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it shows the address
			err = ue.Err
		}
		return fmt.Errorf("post to hook %s: %w", h.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post to hook %s: answered with status %d", h.Name, resp.StatusCode)
	}
	return nil
}
