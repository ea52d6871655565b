package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/queue/queuetest"
)

func ExampleServer_Pages() {
	q := queuetest.NewMemory(queuetest.Options{})
	server, err := admin.New(admin.Options{
		Queue: q, Letters: q, Control: &control{},
		Upstream: func() status.Upstream { return status.Upstream{State: "denied", Why: "the key is wrong"} },
		Take:     func([]byte) error { return nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	server.Pages().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/deliverz", nil))
	fmt.Println(w.Code)
	fmt.Print(w.Body)
	// Output:
	// 503
	// {
	//   "ok": false,
	//   "reason": "the upstream is denied: the key is wrong"
	// }
}
