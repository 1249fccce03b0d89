//! The IPSO objects that points of a device become: sensors, inputs, outputs and switches (OMA registry, 3200 to 3347).
//!
//! What holds the point's value is the first resource that every instance has.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// All of them, by id.
pub const IPSO: &[ObjectModel] = &[
    object(3200, "Digital Input", Version::V1_1, DIGITAL_INPUT),
    object(3201, "Digital Output", Version::V1_1, DIGITAL_OUTPUT),
    object(3202, "Analog Input", Version::V1_1, ANALOG_INPUT),
    object(3203, "Analog Output", Version::V1_1, ANALOG_OUTPUT),
    object(3300, "Generic Sensor", Version::V1_1, GENERIC),
    object(3301, "Illuminance", Version::V1_1, SENSOR),
    object(3302, "Presence", Version::V1_1, PRESENCE),
    object(3303, "Temperature", Version::V1_1, TEMPERATURE),
    object(3304, "Humidity", Version::V1_1, TEMPERATURE),
    object(3306, "Actuation", Version::V1_1, ACTUATION),
    object(3308, "Set Point", Version::V1_1, SET_POINT),
    object(3311, "Light Control", Version::V1_0, LIGHT_CONTROL),
    object(3312, "Power Control", Version::V1_1, POWER_CONTROL),
    object(3315, "Barometer", Version::V1_1, TEMPERATURE),
    object(3316, "Voltage", Version::V1_1, CALIBRATED),
    object(3317, "Current", Version::V1_1, CALIBRATED),
    object(3318, "Frequency", Version::V1_1, CALIBRATED),
    object(3320, "Percentage", Version::V1_1, CALIBRATED),
    object(3321, "Altitude", Version::V1_1, CALIBRATED),
    object(3322, "Load", Version::V1_1, CALIBRATED),
    object(3323, "Pressure", Version::V1_1, CALIBRATED),
    object(3324, "Loudness", Version::V1_1, CALIBRATED),
    object(3325, "Concentration", Version::V1_1, CALIBRATED),
    object(3326, "Acidity", Version::V1_1, CALIBRATED),
    object(3327, "Conductivity", Version::V1_1, CALIBRATED),
    object(3328, "Power", Version::V1_1, CALIBRATED),
    object(3329, "Power Factor", Version::V1_1, CALIBRATED),
    object(3330, "Distance", Version::V1_1, CALIBRATED),
    object(3331, "Energy", Version::V1_1, ENERGY),
    object(3341, "Addressable Text Display", Version::V1_0, TEXT_DISPLAY),
    object(3342, "On/Off switch", Version::V1_1, SWITCH),
    object(3347, "Push button", Version::V1_1, BUTTON),
];

const fn object(id: u16, name: &'static str, version: Version, resources: &'static [ResourceModel]) -> ObjectModel {
    ObjectModel { id, name, version, multiple: true, mandatory: false, resources }
}

const DIGITAL_INPUT_STATE: ResourceModel =
    ResourceModel::new(5500, "Digital Input State", Operations::READ, Kind::Boolean).mandatory();
const DIGITAL_INPUT_COUNTER: ResourceModel =
    ResourceModel::new(5501, "Digital Input Counter", Operations::READ, Kind::Integer);
const DIGITAL_INPUT_COUNTER_RESET: ResourceModel = ResourceModel::executable(5505, "Digital Input Counter Reset");
const TIMESTAMP: ResourceModel = ResourceModel::new(5518, "Timestamp", Operations::READ, Kind::Time);
const MIN_MEASURED_VALUE: ResourceModel = ResourceModel::new(5601, "Min Measured Value", Operations::READ, Kind::Float);
const MAX_MEASURED_VALUE: ResourceModel = ResourceModel::new(5602, "Max Measured Value", Operations::READ, Kind::Float);
const MIN_RANGE_VALUE: ResourceModel = ResourceModel::new(5603, "Min Range Value", Operations::READ, Kind::Float);
const MAX_RANGE_VALUE: ResourceModel = ResourceModel::new(5604, "Max Range Value", Operations::READ, Kind::Float);
const RESET_MIN_AND_MAX_MEASURED_VALUES: ResourceModel =
    ResourceModel::executable(5605, "Reset Min and Max Measured Values");
const SENSOR_VALUE: ResourceModel = ResourceModel::new(5700, "Sensor Value", Operations::READ, Kind::Float).mandatory();
const SENSOR_UNITS: ResourceModel = ResourceModel::new(5701, "Sensor Units", Operations::READ, Kind::String);
const COLOUR: ResourceModel = ResourceModel::new(5706, "Colour", Operations::READ_WRITE, Kind::String);
const APPLICATION_TYPE: ResourceModel =
    ResourceModel::new(5750, "Application Type", Operations::READ_WRITE, Kind::String);
const SENSOR_TYPE: ResourceModel = ResourceModel::new(5751, "Sensor Type", Operations::READ, Kind::String);
const CUMULATIVE_ACTIVE_POWER: ResourceModel =
    ResourceModel::new(5805, "Cumulative active power", Operations::READ, Kind::Float);
const POWER_FACTOR: ResourceModel = ResourceModel::new(5820, "Power factor", Operations::READ, Kind::Float);
const ON_OFF: ResourceModel = ResourceModel::new(5850, "On/Off", Operations::READ_WRITE, Kind::Boolean).mandatory();
const DIMMER: ResourceModel = ResourceModel::new(5851, "Dimmer", Operations::READ_WRITE, Kind::Integer).between(0, 100);
const ON_TIME: ResourceModel = ResourceModel::new(5852, "On time", Operations::READ_WRITE, Kind::Integer);
const MEASUREMENT_QUALITY_INDICATOR: ResourceModel =
    ResourceModel::new(6042, "Measurement Quality Indicator", Operations::READ, Kind::Integer).between(0, 23);
const MEASUREMENT_QUALITY_LEVEL: ResourceModel =
    ResourceModel::new(6049, "Measurement Quality Level", Operations::READ, Kind::Integer).between(0, 100);
const FRACTIONAL_TIMESTAMP: ResourceModel =
    ResourceModel::new(6050, "Fractional Timestamp", Operations::READ, Kind::Float).between(0, 1);

const DIGITAL_INPUT: &[ResourceModel] = &[
    DIGITAL_INPUT_STATE,
    DIGITAL_INPUT_COUNTER,
    ResourceModel::new(5502, "Digital Input Polarity", Operations::READ_WRITE, Kind::Boolean),
    ResourceModel::new(5503, "Digital Input Debounce", Operations::READ_WRITE, Kind::Integer),
    ResourceModel::new(5504, "Digital Input Edge Selection", Operations::READ_WRITE, Kind::Integer).between(1, 3),
    DIGITAL_INPUT_COUNTER_RESET,
    APPLICATION_TYPE,
    SENSOR_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const DIGITAL_OUTPUT: &[ResourceModel] = &[
    ResourceModel::new(5550, "Digital Output State", Operations::READ_WRITE, Kind::Boolean).mandatory(),
    ResourceModel::new(5551, "Digital Output Polarity", Operations::READ_WRITE, Kind::Boolean),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const ANALOG_INPUT: &[ResourceModel] = &[
    ResourceModel::new(5600, "Analog Input Current Value", Operations::READ, Kind::Float).mandatory(),
    MIN_MEASURED_VALUE,
    MAX_MEASURED_VALUE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    APPLICATION_TYPE,
    SENSOR_TYPE,
    RESET_MIN_AND_MAX_MEASURED_VALUES,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const ANALOG_OUTPUT: &[ResourceModel] = &[
    ResourceModel::new(5650, "Analog Output Current Value", Operations::READ_WRITE, Kind::Float)
        .mandatory()
        .between(0, 1),
    APPLICATION_TYPE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const GENERIC: &[ResourceModel] = &[
    SENSOR_VALUE,
    SENSOR_UNITS,
    MIN_MEASURED_VALUE,
    MAX_MEASURED_VALUE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    APPLICATION_TYPE,
    SENSOR_TYPE,
    RESET_MIN_AND_MAX_MEASURED_VALUES,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const SENSOR: &[ResourceModel] = &[
    SENSOR_VALUE,
    MIN_MEASURED_VALUE,
    MAX_MEASURED_VALUE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    RESET_MIN_AND_MAX_MEASURED_VALUES,
    SENSOR_UNITS,
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const PRESENCE: &[ResourceModel] = &[
    DIGITAL_INPUT_STATE,
    DIGITAL_INPUT_COUNTER,
    DIGITAL_INPUT_COUNTER_RESET,
    SENSOR_TYPE,
    ResourceModel::new(5903, "Busy to Clear delay", Operations::READ_WRITE, Kind::Integer),
    ResourceModel::new(5904, "Clear to Busy delay", Operations::READ_WRITE, Kind::Integer),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const TEMPERATURE: &[ResourceModel] = &[
    SENSOR_VALUE,
    MIN_MEASURED_VALUE,
    MAX_MEASURED_VALUE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    SENSOR_UNITS,
    RESET_MIN_AND_MAX_MEASURED_VALUES,
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const ACTUATION: &[ResourceModel] = &[
    ON_OFF,
    DIMMER,
    ON_TIME,
    ResourceModel::new(5853, "Multi-state Output", Operations::READ_WRITE, Kind::String),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const SET_POINT: &[ResourceModel] = &[
    ResourceModel::new(5900, "Set Point Value", Operations::READ_WRITE, Kind::Float).mandatory(),
    SENSOR_UNITS,
    COLOUR,
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const LIGHT_CONTROL: &[ResourceModel] =
    &[ON_OFF, DIMMER, ON_TIME, CUMULATIVE_ACTIVE_POWER, POWER_FACTOR, COLOUR, SENSOR_UNITS, APPLICATION_TYPE];
const POWER_CONTROL: &[ResourceModel] = &[
    ON_OFF,
    DIMMER,
    ON_TIME,
    CUMULATIVE_ACTIVE_POWER,
    POWER_FACTOR,
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const CALIBRATED: &[ResourceModel] = &[
    SENSOR_VALUE,
    SENSOR_UNITS,
    MIN_MEASURED_VALUE,
    MAX_MEASURED_VALUE,
    MIN_RANGE_VALUE,
    MAX_RANGE_VALUE,
    RESET_MIN_AND_MAX_MEASURED_VALUES,
    ResourceModel::new(5821, "Current Calibration", Operations::READ_WRITE, Kind::Float),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const ENERGY: &[ResourceModel] = &[
    SENSOR_VALUE,
    SENSOR_UNITS,
    ResourceModel::executable(5822, "Reset Cumulative energy"),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
    MEASUREMENT_QUALITY_INDICATOR,
    MEASUREMENT_QUALITY_LEVEL,
];
const TEXT_DISPLAY: &[ResourceModel] = &[
    ResourceModel::new(5527, "Text", Operations::READ_WRITE, Kind::String).mandatory(),
    ResourceModel::new(5528, "X Coordinate", Operations::READ_WRITE, Kind::Integer),
    ResourceModel::new(5529, "Y Coordinate", Operations::READ_WRITE, Kind::Integer),
    ResourceModel::new(5545, "Max X Coordinate", Operations::READ, Kind::Integer),
    ResourceModel::new(5546, "Max Y Coordinate", Operations::READ, Kind::Integer),
    ResourceModel::executable(5530, "Clear Display"),
    ResourceModel::new(5548, "Level", Operations::READ_WRITE, Kind::Float).between(0, 100),
    ResourceModel::new(5531, "Contrast", Operations::READ_WRITE, Kind::Float).between(0, 100),
    APPLICATION_TYPE,
];
const SWITCH: &[ResourceModel] = &[
    DIGITAL_INPUT_STATE,
    DIGITAL_INPUT_COUNTER,
    ON_TIME,
    ResourceModel::new(5854, "Off Time", Operations::READ_WRITE, Kind::Integer),
    APPLICATION_TYPE,
    TIMESTAMP,
    FRACTIONAL_TIMESTAMP,
];
const BUTTON: &[ResourceModel] =
    &[DIGITAL_INPUT_STATE, DIGITAL_INPUT_COUNTER, APPLICATION_TYPE, TIMESTAMP, FRACTIONAL_TIMESTAMP];
