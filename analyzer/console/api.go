package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// apiVersion is the version of the API, not of Tapwatch.
const apiVersion = "1.0.0"

// description opens the OpenAPI document.
const description = `Names and units are those of flow.proto: src is the initiator, bytes are IP octets, frame_bytes octets on the wire,
_us microseconds. Times are traffic time, RFC 3339, UTC. Addresses are written without ::ffff:. Counters are JSON numbers of up to 64 bits: read
them as integers. Without from, to and last a question is about the latest 24 hours of the traffic that is stored, and range says which they are.
completeness says what share of the packets of the range is in flows. Errors are problem details (RFC 9457).`

// badRequest is the error for what a client got wrong, as one sentence.
func badRequest(format string, args ...any) error {
	return huma.Error400BadRequest(fmt.Sprintf(format, args...))
}

// register adds an operation that reads. Errors that are not the client's are
// logged here and told without their inside.
func register[I, O any](c *Console, api huma.API, id, path, summary, doc string, f func(context.Context, *I) (*O, error)) {
	operate(c, api, Viewer, http.MethodGet, id, path, summary, doc, f)
}

// operate adds an operation for a role and those above it.
func operate[I, O any](c *Console, api huma.API, role Role, method, id, path, summary, doc string, f func(context.Context, *I) (*O, error)) {
	c.router.allow(role, method+" "+path)
	if role != Viewer {
		doc += " Needs the role " + string(role) + "."
	}
	huma.Register(api, huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Description: doc, RejectUnknownQueryParameters: true, MaxBodyBytes: maxListBody,
		Errors: []int{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		return out, c.tell(id, err)
	})
}

func (c *Console) tell(id string, err error) error {
	var status huma.StatusError
	var refusal *query.Refusal
	var wrong *query.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return status
	case errors.Is(err, context.Canceled):
		return huma.NewError(499, "the client went away")
	case errors.As(err, &refusal):
		c.log.Warn("question too large", "operation", id, "error", err, "cause", errors.Unwrap(refusal))
		return huma.Error422UnprocessableEntity(refusal.Error())
	case errors.As(err, &wrong):
		return badFilter(wrong)
	case errors.Is(err, query.ErrUnavailable):
		c.log.Warn("question not asked", "operation", id, "error", err)
		return huma.Error503ServiceUnavailable("ClickHouse does not answer: see the analyzer's log and /readyz")
	}
	c.log.Error("question failed", "operation", id, "error", err)
	return huma.Error500InternalServerError("the question failed: the reason is in the analyzer's log")
}

// answer is the body of an operation.
type answer[T any] struct{ Body T }

// routes is everything the console answers, behind its door.
func (c *Console) routes() (http.Handler, error) {
	mux := newRouter(func() { c.metrics.refused.WithLabelValues("role").Inc() })
	c.router = mux
	mux.allow(Viewer, "GET /api/openapi.json", "GET /api/openapi-3.0.json", "GET /api/openapi.yaml", "GET /api/openapi-3.0.yaml", "/api/")
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "Tapwatch", Version: apiVersion, Description: description},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName)},
		},
		OpenAPIPath:   "/api/openapi",
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		// A client that asks for something else gets JSON.
		NoFormatFallback: false,
	}
	api := humago.New(mux, config)
	c.alertRoutes(api)
	c.flowRoutes(api)
	c.sumRoutes(api)
	c.filterRoutes(api)
	c.ledgerRoutes(api)
	c.statusRoutes(api)
	c.incidentRoutes(api)
	c.reportRoutes(api)
	c.exclusionRoutes(api)
	c.sweepRoutes(api)
	c.hostRoutes(api)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "no such path: /api/openapi.json lists them")
	})
	if err := c.pageRoutes(mux); err != nil {
		return nil, err
	}
	return c.door.guard(mux), nil
}

// schemaName keeps the names of the package's types; huma's own need its package
// only where two collide.
func schemaName(t reflect.Type, hint string) string { return huma.DefaultSchemaNamer(t, hint) }
