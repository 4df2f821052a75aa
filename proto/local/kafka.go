package local

import (
	"context"
	"errors"
	"log/slog"
)

func KafkaChild(args []string) error { return errors.New("todo") }

var _ context.Context
var _ *slog.Logger
