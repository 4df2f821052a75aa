// Package kit is what every Tapwatch service shares below its own trade: errors that carry a hint for the operator,
// sizes and durations as people write them, and the TLS settings of a client.
//
// In come texts from configuration files, environment and flags; out go plain values. Nothing here keeps a reference
// to what it was given. The parts with a life of their own are in the sub-packages config, service, ops, kafka,
// clickhouse and backoff.
package kit

import "errors"

// hintError is an error together with what the operator can do about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint attaches to err what an operator can do about it, as one short sentence without a full stop. The text of the
// error stays as it is; errors.Is and errors.As see through. A nil err stays nil, an empty hint adds nothing.
func Hint(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hintError{err: err, hint: hint}
}

// HintOf returns the outermost hint in the tree of err, or "" when there is none.
func HintOf(err error) string {
	var h *hintError
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}
