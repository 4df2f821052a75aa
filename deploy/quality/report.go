package quality

import (
	"fmt"
	"io"
)

func report(out io.Writer, outcomes []Outcome) error {
	fmt.Fprintln(out, len(outcomes))
	return nil
}
