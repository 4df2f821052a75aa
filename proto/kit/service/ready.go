package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// readyPatience bounds the question; a health check of a container has its own limit, which is longer.
const readyPatience = 5 * time.Second

// opsOf returns the ops.Config among the fields of a configuration, if it has one.
func opsOf(cfg any) (ops.Config, bool) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Struct {
		return ops.Config{}, false
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			if o, ok := v.Field(i).Interface().(ops.Config); ok {
				return o, true
			}
		}
	}
	return ops.Config{}, false
}

// readyCommand is the health check for images without a shell: it asks the running service, with the configuration
// that service has.
func (s Service[C]) readyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ready",
		Short: "Ask the running service whether it is ready: exit code 0 or 1",
		Args:  cobra.NoArgs,
	}
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		o, _ := opsOf(cfg)
		if err := askReady(cmd.Context(), o.Listen); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), s.commandName()+": ready")
		return err
	}
	return cmd
}

// askReady returns nil when the service that listens on listen says that it is ready, and what is missing otherwise. An
// address that means all of the machine's is asked on loopback.
func askReady(ctx context.Context, listen string) error {
	if listen == "" {
		return Usage(kit.Hint(errors.New("ready: ops.listen is empty"), "give the service an address for its health, such as 127.0.0.1:9100"))
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return Usage(fmt.Errorf("listen address %q: %w", listen, err))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", listen, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy: it is this machine
	answer, err := client.Do(req)
	if err != nil {
		return kit.Hint(fmt.Errorf("ask %s: %w", listen, errors.Unwrap(err)), "is the service running, with the same ops.listen?")
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var said struct{ Components map[string]string }
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&said); err != nil {
		return fmt.Errorf("not ready: %s answers %s", listen, answer.Status)
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(said.Components)) {
		if reason := said.Components[name]; reason != "ok" {
			missing = append(missing, name+": "+reason)
		}
	}
	return fmt.Errorf("not ready: %s", strings.Join(missing, "; "))
}
