package sender

import (
	"errors"
	"net/http"
)

// verdict is what one answer means for its event.
type verdict uint8

const (
	delivered verdict = iota + 1
	retry             // not now; the destination or the way to it is in trouble
	bury              // this event will never pass
	deny              // our key or address is wrong: keep everything and say so
	untried           // we cut the attempt off ourselves: nothing was learned
)

// troubles reports whether v may speak of the upstream, not of one event alone.
func (v verdict) troubles() bool { return v == retry || v == deny }

// aboutUs reports whether r cannot be about one event: key, address or proxy are
// wrong for all. A 403 may be a firewall's that rejects some bodies.
func (r result) aboutUs() bool {
	switch r {
	case resultUnauthorized, resultNotFound, resultRedirect, resultProxyAuth:
		return true
	}
	return false
}

// result names what came of an attempt. The set is closed: it labels metrics.
type result string

// The results, grouped by verdict.
const (
	resultDelivered result = "delivered"

	resultRejected result = "rejected"
	resultTooLarge result = "too_large"

	resultProxyTooLarge result = "proxy_too_large" // 413, but not from this API

	resultUnauthorized result = "unauthorized"  // 401
	resultForbidden    result = "forbidden"     // 403
	resultNotFound     result = "not_found"     // 404, 410
	resultRedirect     result = "redirect"      // 3xx
	resultProxyAuth    result = "proxy_auth"    // 407, also to CONNECT
	resultProxyRefused result = "proxy_refused" // any other answer to CONNECT
	resultDenied       result = "denied"        // 402, 405, 451
	resultForeign      result = "foreign"       // an answer that is not this API's: a proxy, a portal

	resultThrottled   result = "throttled"    // 429
	resultServerError result = "server_error" // 5xx
	resultOther       result = "other_status"

	resultCutOff        result = "cut_off" // the answer ended before its end
	resultTimeout       result = "timeout"
	resultTimeoutAnswer result = "timeout_answer" // after the status line had come
	resultDNS           result = "dns"
	resultConnect       result = "connect" // refused, unreachable
	resultReset         result = "reset"
	resultTLSName       result = "tls_name"
	resultTLSExpired    result = "tls_expired"
	resultTLSAuthority  result = "tls_authority"
	resultTLS           result = "tls"
	resultPlainHTTP     result = "plain_http" // the far side does not speak TLS
	resultWantsTLS      result = "wants_tls"  // the far side speaks TLS only
	resultMalformed     result = "malformed"  // not HTTP
	resultNetwork       result = "network"    // any other

	resultStopped result = "stopped" // cut off by our own shutdown
)

// results lists every result once.
func results() []result {
	return []result{
		resultDelivered, resultRejected, resultTooLarge, resultProxyTooLarge,
		resultUnauthorized, resultForbidden, resultNotFound, resultRedirect,
		resultProxyAuth, resultProxyRefused, resultDenied, resultForeign,
		resultThrottled, resultServerError, resultOther,
		resultCutOff, resultTimeout, resultTimeoutAnswer, resultDNS, resultConnect, resultReset,
		resultTLSName, resultTLSExpired, resultTLSAuthority, resultTLS,
		resultPlainHTTP, resultWantsTLS, resultMalformed, resultNetwork,
		resultStopped,
	}
}

// judge decides what one answer means. It looks at the status and at whether
// the body is a JSON object, which this API's always is; never at its wording,
// which nobody has documented.
func judge(a answer) (verdict, result) {
	switch {
	case a.status == 0:
		return judgeSilence(a.err)
	case a.status/100 == 2:
		return judgeSuccess(a)
	case a.status/100 == 3: // never followed with a key in hand
		return deny, resultRedirect
	}
	switch a.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return judgeRefusal(a)
	case http.StatusRequestEntityTooLarge:
		return judgeTooLarge(a)
	case http.StatusUnauthorized:
		return deny, resultUnauthorized
	case http.StatusForbidden:
		return deny, resultForbidden
	case http.StatusNotFound, http.StatusGone:
		return deny, resultNotFound
	case http.StatusProxyAuthRequired:
		return deny, resultProxyAuth
	case http.StatusPaymentRequired, http.StatusMethodNotAllowed, http.StatusUnavailableForLegalReasons:
		return deny, resultDenied
	case http.StatusTooManyRequests:
		return retry, resultThrottled
	}
	if a.status/100 == 5 {
		return retry, resultServerError
	}
	return retry, resultOther
}

// judgeSuccess tells this API's 2xx from that of a captive portal, which says
// 200 to everything and keeps nothing.
func judgeSuccess(a answer) (verdict, result) {
	switch a.kind {
	case bodyNone, bodyObject:
		return delivered, resultDelivered
	case bodyCut:
		return retry, cutReason(a.err)
	default:
		return deny, resultForeign
	}
}

// judgeRefusal tells this API's verdict on an event from a proxy's complaint
// about a request.
func judgeRefusal(a answer) (verdict, result) {
	switch a.kind {
	case bodyObject:
		return bury, resultRejected
	case bodyCut:
		return retry, cutReason(a.err)
	default:
		return deny, resultForeign
	}
}

// judgeTooLarge tells this API's verdict on an event from the limit of a proxy,
// which is mended at the proxy: until then the event fails alone.
func judgeTooLarge(a answer) (verdict, result) {
	switch a.kind {
	case bodyObject:
		return bury, resultTooLarge
	case bodyCut:
		return retry, cutReason(a.err)
	default:
		return retry, resultProxyTooLarge
	}
}

// judgeSilence says what it means that no answer came.
func judgeSilence(err error) (verdict, result) {
	if p, ok := errors.AsType[*proxyError](err); ok {
		switch {
		case p.status == http.StatusProxyAuthRequired:
			return deny, resultProxyAuth
		case p.status/100 == 5: // it cannot reach the destination
			return retry, resultProxyRefused
		default:
			return deny, resultProxyRefused
		}
	}
	r := trouble(err)
	if r == resultStopped {
		return untried, r
	}
	return retry, r
}
