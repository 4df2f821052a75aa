package notify

import (
	"context"
	"time"
)

// deliver makes one attempt at an item, if it is still due: what the tables say
// now decides, not what they said when it was queued. It returns an error only
// when the tables could not be read, or the attempt not be stored beforehand;
// then nothing was sent.
func (s *sink) deliver(ctx context.Context, it *item) error {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	alerts, err := s.alerts.Get(look, []string{it.id})
	if err != nil {
		return err
	}
	states, err := s.db.states(look, []string{it.id}, []string{s.name})
	if err != nil {
		return err
	}
	st := states[key{it.id, s.name}]
	if len(alerts) == 0 || alerts[0].SuppressedBy != "" {
		s.remove(it.id)
		return nil
	}
	m := &message{Alert: alerts[0], console: s.cfg.console()}
	m.reason = due(m.Revision, m.Standing(), m.Magnitude, st.told, s.from())
	if m.reason == notDue {
		s.remove(it.id)
		return nil
	}

	now := s.clock()
	attempt := row{alert: m.ID, revision: m.Revision, sink: s.name, status: pending, severity: m.Standing(), magnitude: m.Magnitude, attempts: 1, at: after(now, st.at)}
	switch {
	case st.pending == m.Revision:
		attempt.attempts = st.attempts + 1 // is stored as pending since its first attempt
	case st.pending != 0:
		old := row{alert: m.ID, revision: st.pending, sink: s.name, status: replaced, severity: m.Standing(), magnitude: m.Magnitude, attempts: st.attempts, at: attempt.at}
		if err := s.db.write(look, attempt, old); err != nil {
			return err
		}
		s.metrics.messages.WithLabelValues(s.name, replaced).Inc()
	default:
		if err := s.db.write(look, attempt); err != nil {
			return err
		}
	}

	s.rate.count(now)
	begun := time.Now()
	err, cutShort := s.attempt(ctx, m)
	s.metrics.seconds.WithLabelValues(s.name).Observe(time.Since(begun).Seconds())
	if cutShort {
		// Whether it has arrived is not known: it stays pending, and the next
		// process sends it again with the same key.
		s.metrics.attempts.WithLabelValues(s.name, "cut_short").Inc()
		return nil
	}
	attempt.at = after(s.clock(), attempt.at)
	if err == nil {
		s.taken(it, m, attempt)
	} else {
		s.failed(it, m, attempt, err)
	}
	s.flush(ctx)
	return nil
}

// attempt sends m within the sink's timeout. When ctx ends meanwhile the attempt
// has grace to finish; cutShort says that it had not.
func (s *sink) attempt(ctx context.Context, m *message) (err error, cutShort bool) {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		last := time.NewTimer(grace)
		defer last.Stop()
		select {
		case <-last.C:
			cancel()
		case <-sending.Done():
		}
	})
	defer stop()
	err = s.to.send(sending, m)
	return err, err != nil && sending.Err() == context.Canceled
}

// taken does what follows on a success.
func (s *sink) taken(it *item, m *message, outcome row) {
	outcome.status = delivered
	s.unrecorded = append(s.unrecorded, outcome)
	s.remove(it.id)
	s.gate.Reset()
	s.shutUntil = time.Time{}
	if s.failing {
		s.log.Info("the sink takes alerts again")
	}
	s.failing = false
	s.metrics.attempts.WithLabelValues(s.name, "ok").Inc()
	s.metrics.messages.WithLabelValues(s.name, delivered).Inc()
	s.log.Info("alert sent", "alert", m.ID, "revision", m.Revision, "severity", string(m.Severity), "detector", m.Detector, "reason", string(m.reason), "attempt", outcome.attempts)
}

// failed does what follows on a failure: another attempt later, or none.
func (s *sink) failed(it *item, m *message, outcome row, err error) {
	now := outcome.at
	refused, text := asRefusal(err), errorText(err, s.secrets)
	outcome.err = text
	result := "failed"
	if refused {
		result = "refused"
	}
	s.metrics.attempts.WithLabelValues(s.name, result).Inc()

	patience := now.Sub(it.since) >= s.cfg.GiveUpAfter && int(outcome.attempts) >= s.cfg.GiveUpAttempts
	if patience || refused && int(outcome.attempts) >= s.cfg.RefusedAttempts {
		outcome.status = gaveUp
		s.remove(it.id)
		s.metrics.messages.WithLabelValues(s.name, gaveUp).Inc()
		s.log.Warn("alert given up", "alert", m.ID, "revision", m.Revision, "severity", string(m.Severity), "attempts", outcome.attempts, "error", text)
	}
	s.unrecorded = append(s.unrecorded, outcome)

	pause := it.pause.Next()
	if refused {
		pause = min(refusedFactor*pause, s.cfg.RetryMax)
	}
	asked := asPostponed(err)
	s.mu.Lock()
	it.failures++
	it.next = now.Add(max(pause, asked))
	s.mu.Unlock()
	// Others wait as well, but not as long: the trouble may be this message's own.
	s.shutUntil = now.Add(max(s.gate.Next(), asked))
	if !s.failing {
		s.log.Warn("the sink does not take alerts; trying on", "error", text)
	} else {
		s.log.Debug("attempt failed", "alert", m.ID, "attempt", outcome.attempts, "error", text)
	}
	s.failing = true
}

// after is now in the table's precision, but later than the newest row of the
// same delivery: of rows with the same key the table keeps the latest.
func after(now, newest time.Time) time.Time {
	return later(now.UTC().Truncate(time.Millisecond), newest.Add(time.Millisecond))
}
