//! Any bytes offered as a request to write: refused, or parsed into types that can be said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_api::convert::command::Execution;
use openprod_api::v1::ExecuteRequest;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ExecuteRequest::decode(bytes)
        && let Ok(execution) = Execution::try_from(request)
    {
        let again = ExecuteRequest::from(&execution);
        let again = Execution::try_from(again).expect("what was accepted once is accepted again");
        assert_eq!(again.request, execution.request);
    }
});
